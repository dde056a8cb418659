"""A hook on the output's gradient appends it to a list at module level.

holder: gradients
made: loss.backward()
"""

import sys

import torch
from torch import nn

device = "cuda"
model = nn.Sequential(nn.Linear(256, 1024), nn.ReLU(), nn.Linear(1024, 256)).to(device)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
steps = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000

gradients = []

for _ in range(steps):
    x = torch.randn(512, 256, device=device)
    out = model(x)
    out.register_hook(gradients.append)
    loss = (out - x).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
