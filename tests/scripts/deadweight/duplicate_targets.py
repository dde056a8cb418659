"""The targets are copied for a second loss; both losses only read theirs, in the backward too.

category: duplicate
made: .clone()
change: .clone()
"""

import sys

import torch
from torch import nn

plant = sys.argv[1:] != ["without"]
model = nn.Sequential(nn.Linear(1024, 1024), nn.ReLU(), nn.Linear(1024, 1024)).cuda()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)


def losses(output, target, reference):
    return (output * target).mean() + (output * reference).tanh().mean()


for _ in range(4):
    target = torch.randn(4096, 1024, device="cuda")
    reference = target.clone() if plant else target
    loss = losses(model(torch.randn(4096, 1024, device="cuda")), target, reference)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
print(torch.cuda.max_memory_allocated())
