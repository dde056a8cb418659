"""Saves the best weights in memory, again and again, because the loss keeps falling.

holder: best_weights
made: clone()
fix: move_to_cpu
"""

import sys

import torch
from torch import nn

device = "cuda"
model = nn.Sequential(nn.Linear(256, 1024), nn.ReLU(), nn.Linear(1024, 256)).to(device)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
steps = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000

best_weights = []

for step in range(steps):
    x = torch.randn(256, 256, device=device)
    loss = (model(x) - x).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    best_weights.append((step, {name: value.clone() for name, value in model.state_dict().items()}))
