"""After some epochs all parameters and states are flattened into one vector on the device, to be saved.

pattern: late_allocation
card: 1000MiB
cause: late_allocation
fix: late_allocation | off_device | move_to_cpu
proof: --fixed
"""

import sys

import torch
from torch import nn

net = nn.Sequential(*[nn.Linear(1800, 1800) for _ in range(10)]).cuda()
optimizer = torch.optim.Adam(net.parameters())


def consolidate():
    parts = [p.detach().flatten() for p in net.parameters()]
    for state in optimizer.state.values():
        parts += [state["exp_avg"].flatten(), state["exp_avg_sq"].flatten()]
    if "--fixed" in sys.argv:
        parts = [part.cpu() for part in parts]
    return torch.cat(parts).cpu()  # culprit


for epoch in range(4):
    for _ in range(5):
        x = torch.randn(64, 1800, device="cuda")
        loss = net(x).pow(2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    if epoch == 2:
        consolidate()
