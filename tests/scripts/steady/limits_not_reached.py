"""A deque and a cache with limits that they would reach long after this run."""

import collections
import functools
import sys

import torch
from torch import nn


@functools.lru_cache(maxsize=128)
def position(step):
    return torch.full((256, 256), step / 100, device="cuda")


def main(steps):
    model = nn.Linear(256, 256).cuda()
    optimizer = torch.optim.Adam(model.parameters())
    seen = collections.deque(maxlen=200)
    for step in range(steps):
        y = model(position(step))
        y.std().backward()
        optimizer.step()
        optimizer.zero_grad()
        seen.append(y.detach())


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 60)
