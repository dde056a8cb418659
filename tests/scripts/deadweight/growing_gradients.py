"""A frozen part still gets gradients; its optimizer does not have them, so that nothing clears them either.

category: never_read
made: head(backbone(
change: head(backbone(
least: what it takes to compute them
"""

import sys

import torch
from torch import nn

plant = sys.argv[1:] != ["without"]
backbone = nn.Sequential(nn.Linear(1024, 4096), nn.ReLU(), nn.Linear(4096, 1024)).cuda()
head = nn.Linear(1024, 10).cuda()
backbone.requires_grad_(plant)
optimizer = torch.optim.AdamW(head.parameters())

for _ in range(4):
    data = torch.randn(256, 1024, device="cuda")
    loss = nn.functional.cross_entropy(head(backbone(data)), torch.zeros(256, dtype=torch.long, device="cuda"))
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
print(torch.cuda.max_memory_allocated())
