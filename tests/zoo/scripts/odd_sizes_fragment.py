"""Images of every size in turn: the cache is cut up, and a large one finds no room though half of it is idle.

pattern: fragmentation
card: 620MiB
cause: fragmentation
fix: expandable_segments
proof: PYTORCH_ALLOC_CONF=expandable_segments:True
"""

import random

import torch
from torch import nn

random.seed(3)
model = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU()).cuda()
opt = torch.optim.SGD(model.parameters(), lr=0.01)
sides = [1000] + [random.randrange(300, 1000, 4) for _ in range(400)]  # the largest first, to warm up
for side in sides:
    x = torch.rand(1, 3, side, side * 4 // 3, device="cuda")
    loss = model(x).mean()  # culprit
    opt.zero_grad()
    loss.backward()  # culprit
    opt.step()
