"""Keeps the predictions of every step in a dictionary by step.

holder: predictions
made: model(x)
"""

import sys

import torch
from torch import nn

device = "cuda"
model = nn.Sequential(nn.Linear(256, 1024), nn.ReLU(), nn.Linear(1024, 256)).to(device)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
steps = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000

predictions = {}

for step in range(steps):
    x = torch.randn(1024, 256, device=device)
    out = model(x)
    loss = (out - x).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    predictions[step] = out.detach()
