"""The gradients of one step live on through the forward of the next.

category: dead
made: output = model(
change: optimizer.step()
"""

import sys

import torch
from torch import nn

plant = sys.argv[1:] != ["without"]
model = nn.Sequential(nn.Linear(1024, 2048), nn.ReLU(), nn.Linear(2048, 1024)).cuda()
optimizer = torch.optim.AdamW(model.parameters(), fused=True)
for _ in range(4):
    output = model(torch.randn(1024, 1024, device="cuda"))
    with torch.no_grad():
        distances = torch.cdist(output.repeat(4, 1), output.repeat(4, 1))
        nearest = distances.topk(4, largest=False).values.mean().item()
    del distances
    loss = output.square().mean()
    if plant:
        optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if not plant:
        optimizer.zero_grad()
print(torch.cuda.max_memory_allocated())
