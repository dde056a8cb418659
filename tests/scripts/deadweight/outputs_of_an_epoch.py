"""A list keeps a copy of each output of a short epoch, and nothing reads it; activations and copies come from one line.

category: never_read
made: .clone()
change: .clone()
"""

import sys

import torch
from torch import nn

plant = sys.argv[1:] != ["without"]
model = nn.Sequential(nn.Linear(1024, 1024), nn.ReLU(), nn.Linear(1024, 1024)).cuda()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)


def epoch():
    outputs = []
    for _ in range(3):
        output = model(torch.randn(8192, 1024, device="cuda"))
        bounded, kept = output.tanh(), output.detach().clone() if plant else None
        outputs.append(kept)
        bounded.mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    print(torch.cuda.max_memory_allocated())


epoch()
