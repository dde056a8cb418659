"""An ensemble is trained member by member, and all members, with optimizers and gradients, stay on the device.

pattern: gradual_leak
card: 700MiB
cause: accumulating_tensors | model_states_too_large
holder: members | ensemble | Ensemble.members | optimizers | Adam
fix: bound_container | move_to_cpu | drop_parameters | drop_optimizers
proof: --fixed
"""

import sys

import torch
from torch import nn


def make():
    return nn.Sequential(  # culprit
        nn.Linear(256, 2048), nn.ReLU(), nn.Linear(2048, 1024), nn.ReLU(), nn.Linear(1024, 8)
    ).cuda()  # culprit


members = []
for number in range(14):
    net = make()  # culprit
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    for step in range(4):
        x, y = torch.randn(64, 256, device="cuda"), torch.randint(8, (64,), device="cuda")
        loss = nn.functional.cross_entropy(net(x), y)
        optimizer.zero_grad()
        loss.backward()  # culprit
        optimizer.step()  # culprit
    members.append((net.cpu(), None) if "--fixed" in sys.argv else (net, optimizer))
print(len(members))
