"""A copy of the images for the error that is printed after each step; nothing changes the images.

category: duplicate
made: .clone()
change: .clone()
"""

import sys

import torch
from torch import nn

plant = sys.argv[1:] != ["without"]
model = nn.Sequential(nn.Conv2d(3, 16, 3, 1, 1), nn.ReLU(), nn.Conv2d(16, 3, 3, 1, 1)).cuda()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
errors = []


def train(images, clean):
    loss = (model(images) - clean).abs().mean()
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    errors.append((images - clean).square().mean().item())


for _ in range(4):
    images = torch.randn(64, 3, 128, 128, device="cuda")
    clean = images.clone() if plant else images
    train(images, clean)
print(torch.cuda.max_memory_allocated())
