"""weakref.finalize with a tensor among its arguments: kept until the batch object dies, and the cache never drops it.

holder: finalize._registry
made: torch.rand
"""

import sys
import weakref

import torch
from torch import nn


class Ticket:
    """What a client holds while its request is worked on."""


live = []


def submit(values):
    ticket = Ticket()
    weakref.finalize(ticket, values.zero_)
    live.append(ticket)


model = nn.Linear(900, 30).cuda()
optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
for _ in range(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000):
    values = torch.rand(250, 900, device="cuda")
    submit(values)
    model(values).std().backward()
    optimizer.step()
    optimizer.zero_grad()
