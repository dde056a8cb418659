"""The backbone is not trained, but its gradients are computed.

category: never_read
made: head(backbone(
change: head(backbone(
"""

import sys

import torch
from torch import nn

plant = sys.argv[1:] != ["without"]
backbone = nn.Sequential(nn.Linear(1024, 2048), nn.ReLU(), nn.Linear(2048, 1024)).cuda()
head = nn.Linear(1024, 10).cuda()
if not plant:
    backbone.requires_grad_(False)
optimizer = torch.optim.AdamW(head.parameters())
for _ in range(4):
    loss = head(backbone(torch.randn(4, 1024, device="cuda"))).square().mean()
    loss.backward()
    optimizer.step()
    backbone.zero_grad()
    head.zero_grad()
print(torch.cuda.max_memory_allocated())
