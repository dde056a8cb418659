"""Batches that fail are skipped, and the exception is kept for the report at the end.

pattern: gradual_leak
card: 500MiB
cause: accumulating_tensors | accumulating_autograd_graph
holder: failures
fix: drop_traceback | bound_container | detach | move_to_cpu
proof: --fixed
"""

import sys

import torch
from torch import nn

model = nn.Sequential(nn.Linear(512, 2048), nn.ReLU(), nn.Linear(2048, 512)).cuda()
optimizer = torch.optim.AdamW(model.parameters())
failures = []


def train_step(x, bad):
    hidden = model[:2](x)  # culprit
    out = model[2](hidden)  # culprit
    if bad:
        raise ValueError("target is missing")
    loss = (out - x).pow(2).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


for step in range(300):
    x = torch.randn(512, 512, device="cuda")  # culprit
    try:
        train_step(x, bad=step % 3 == 1)
    except ValueError as error:
        failures.append(str(error) if "--fixed" in sys.argv else error)
print(len(failures))
