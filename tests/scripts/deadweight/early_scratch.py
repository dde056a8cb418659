"""Scratch space for a statistic after the optimizer's step, made before the forward.

category: too_early
made: torch.zeros(
change: scratch.add_(
"""

import sys

import torch
from torch import nn

plant = sys.argv[1:] != ["without"]
layers = [nn.Linear(1024, 1024), nn.ReLU(), nn.Linear(1024, 1024), nn.ReLU(), nn.Linear(1024, 1024)]
model = nn.Sequential(*layers).cuda()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
total = 0.0


def make():
    return torch.zeros(4096, 4096, device="cuda")


for _ in range(4):
    scratch = make() if plant else None
    data = torch.randn(8192, 1024, device="cuda")
    loss = (model(data) * data).mean()
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    scratch = scratch if plant else make()
    scratch.add_(1)
    total += scratch.sum().item()
    del scratch
print(torch.cuda.max_memory_allocated())
