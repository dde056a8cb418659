"""A memory handler of the logging module keeps its records, and these their arguments.

holder: MemoryHandler.buffer
made: net(x)
"""

import logging
import logging.handlers
import sys

import torch
from torch import nn

log = logging.getLogger("train")


def encode(net, x):
    return torch.tanh(net(x))


def main(steps):
    log.propagate = False
    log.setLevel(logging.DEBUG)
    log.addHandler(logging.handlers.MemoryHandler(capacity=1 << 30, flushLevel=logging.CRITICAL))
    net = nn.Linear(64, 700).cuda()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for step in range(steps):
        codes = encode(net, torch.randn(400, 64, device="cuda"))
        codes.std().backward()
        optimizer.step()
        optimizer.zero_grad()
        log.debug("step %d: codes %s", step, codes.detach())


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
