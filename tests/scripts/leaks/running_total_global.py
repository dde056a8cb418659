"""The same at module level, in a plain loop, with a loss that is a sum of two terms.

holder: graph of running_loss (a scalar)
made: model(x)|criterion(|penalty
"""

import sys

import torch
from torch import nn

device = "cuda"
model = nn.Sequential(nn.Linear(256, 1024), nn.ReLU(), nn.Linear(1024, 256)).to(device)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
steps = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000

criterion = nn.SmoothL1Loss()
running_loss = torch.zeros((), device=device)

for step in range(steps):
    x = torch.randn(512, 256, device=device)
    prediction = model(x)
    penalty = prediction.square().mean()
    loss = criterion(prediction, x) + 0.01 * penalty
    optimizer.zero_grad(set_to_none=True)
    loss.backward(retain_graph=True)
    optimizer.step()
    running_loss = running_loss + loss
    if step % 100 == 99:
        print(step, running_loss.item() / step)
