"""A teacher is loaded, and distillation is switched off.

category: never_read
made: build(1536)
change: build(1536)
"""

import sys

import torch
from torch import nn

plant = sys.argv[1:] != ["without"]


def build(width):
    return nn.Sequential(nn.Linear(256, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 256))


student = build(512).cuda()
teacher = build(1536).cuda().eval() if plant else None
optimizer = torch.optim.AdamW(student.parameters())
weight = 0.0
for _ in range(4):
    x = torch.randn(1024, 256, device="cuda")
    output = student(x)
    loss = (output - x).square().mean()
    if weight > 0:
        loss = loss + weight * (output - teacher(x)).square().mean()
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
print(torch.cuda.max_memory_allocated())
