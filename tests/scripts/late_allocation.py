"""Stable for twenty steps; then three moving averages of the weights are started."""

import copy

import torch
from torch import nn

DECAYS = (0.99, 0.999, 0.9999)

model = nn.Sequential(*[nn.Linear(2048, 2048) for _ in range(8)]).cuda()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
averages = []
for step in range(40):
    x = torch.randn(64, 2048, device="cuda")
    loss = (model(x) - x).square().mean()
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    if step == 20:
        averages = [copy.deepcopy(model) for _ in DECAYS]
    with torch.no_grad():
        for average, decay in zip(averages, DECAYS, strict=False):
            for kept, new in zip(average.parameters(), model.parameters(), strict=True):
                kept.lerp_(new, 1 - decay)
print("done")
