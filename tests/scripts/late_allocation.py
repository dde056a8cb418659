"""Stable for twenty steps; then an averaged copy of the model is made, in double precision."""

import copy

import torch
from torch import nn

model = nn.Sequential(*[nn.Linear(2048, 2048) for _ in range(8)]).cuda()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
average = None
for step in range(40):
    x = torch.randn(64, 2048, device="cuda")
    loss = (model(x) - x).square().mean()
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    if step == 20:
        average = copy.deepcopy(model).double()
    elif average is not None:
        with torch.no_grad():
            for kept, new in zip(average.parameters(), model.parameters(), strict=True):
                kept.lerp_(new.double(), 0.01)
print("done")
