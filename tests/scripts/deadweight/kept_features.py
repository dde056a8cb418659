"""Features are computed for a statistic and stay bound to their name across the backward.

category: dead
made: features = model.stem
change: mean = features
"""

import sys

import torch
from torch import nn

plant = sys.argv[1:] != ["without"]


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Linear(256, 4096, bias=False)
        self.body = nn.Sequential(
            nn.Linear(256, 1024), nn.ReLU(), nn.Linear(1024, 1024), nn.ReLU(), nn.Linear(1024, 10)
        )

    def forward(self, x):
        return self.body(x)


model = Net().cuda()
optimizer = torch.optim.AdamW(model.body.parameters())
for _ in range(4):
    x = torch.randn(2048, 256, device="cuda")
    with torch.no_grad():
        features = model.stem(x)
        mean = features.mean()
    if not plant:
        del features
    loss = model(x).square().mean() + mean
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
print(torch.cuda.max_memory_allocated())
