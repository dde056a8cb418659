"""Validation in the loop without eval() and without no_grad: batches as large as the card takes in training, twice.

pattern: eval_spike
card: 900MiB
cause: evaluation_without_no_grad | evaluation_batch_larger | activations_too_large | batch_outlier
fix: no_grad | evaluation_batch | bound_batch
proof: --fixed
"""

import sys

import torch
import torchvision

net = torchvision.models.resnet18(num_classes=10).cuda()
optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
criterion = torch.nn.CrossEntropyLoss()


def compute_loss(batch):
    images = torch.randn(batch, 3, 96, 96, device="cuda")
    labels = torch.randint(10, (batch,), device="cuda")
    return criterion(net(images), labels)  # culprit


for epoch in range(2):
    for i in range(5):
        optimizer.zero_grad()
        loss = compute_loss(64)
        loss.backward()
        optimizer.step()
    if "--fixed" in sys.argv:
        with torch.no_grad():
            val_loss = compute_loss(200).item()
    else:
        val_loss = compute_loss(200).item()
    print(epoch, val_loss)
