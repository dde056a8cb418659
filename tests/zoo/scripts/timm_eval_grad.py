"""A timm model is validated with the training loop's batch times four, and nobody wrote no_grad.

pattern: eval_spike
card: 900MiB
cause: evaluation_without_no_grad
fix: no_grad
proof: --fixed
"""

import contextlib
import sys

import timm
import torch
import torch.nn.functional as F

model = timm.create_model("vit_tiny_patch16_224", num_classes=10, img_size=96, depth=8).cuda()
opt = torch.optim.AdamW(model.parameters(), lr=1e-3)
guard = torch.no_grad if "--fixed" in sys.argv else contextlib.nullcontext


def loader(batch_size, n):
    for _ in range(n):
        yield torch.randn(batch_size, 3, 96, 96).cuda(), torch.randint(10, (batch_size,)).cuda()


def train_epoch():
    model.train()
    for x, y in loader(64, 6):
        loss = F.cross_entropy(model(x), y)
        opt.zero_grad()
        loss.backward()
        opt.step()


def validate():
    model.eval()
    correct = total = 0
    for x, y in loader(256, 3):
        with guard():
            out = model(x)  # culprit
            correct += (out.argmax(1) == y).sum().item()
        total += len(y)
    return correct / total


for epoch in range(2):
    train_epoch()
    print(epoch, validate())
