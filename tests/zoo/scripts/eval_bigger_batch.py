"""Validation under no_grad, with a batch eight times that of training and all of its images at full size.

pattern: eval_spike
card: 900MiB
cause: evaluation_batch_larger
fix: evaluation_batch
run: --val-batch-size 768
proof: --val-batch-size 64
"""

import argparse

import torch
import torch.nn.functional as F
import torchvision

parser = argparse.ArgumentParser()
parser.add_argument("--batch-size", type=int, default=32)
parser.add_argument("--val-batch-size", type=int, default=256)
args = parser.parse_args()


def run_epoch(model, batch_size, optimizer=None):
    model.train(optimizer is not None)
    for _ in range(4):
        x = torch.randn(batch_size, 3, 96, 96, device="cuda")
        y = torch.randint(20, (batch_size,), device="cuda")
        loss = F.cross_entropy(model(x), y)  # culprit
        if optimizer is not None:
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
    return loss.item()


model = torchvision.models.resnet18(num_classes=20).cuda()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for epoch in range(2):
    run_epoch(model, args.batch_size, optimizer)
    with torch.no_grad():
        print(epoch, run_epoch(model, args.val_batch_size))
