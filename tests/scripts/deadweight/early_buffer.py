"""The buffer for the evaluation's results is made before the training that comes first.

category: too_early
made: torch.zeros(6000
change: evaluate(
"""

import sys

import torch
from torch import nn

plant = sys.argv[1:] != ["without"]
model = nn.Sequential(nn.Linear(512, 2048), nn.GELU(), nn.Linear(2048, 512)).cuda()
optimizer = torch.optim.AdamW(model.parameters())


def make():
    return torch.zeros(6000, 2048, device="cuda")


def evaluate(results):
    model.eval()
    with torch.no_grad():
        for i in range(3):
            results[i, :512] = model(torch.randn(64, 512, device="cuda")).mean(0)
    return results.sum().item()


results = make() if plant else None
for _ in range(2):
    loss = model(torch.randn(2048, 512, device="cuda")).square().mean()
    loss.backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
del loss
results = results if plant else make()
evaluate(results)
print(torch.cuda.max_memory_allocated())
