"""lru_cache with room for 16 tables, asked for a new one in most steps."""

import functools
import random
import sys

import torch
from torch import nn


@functools.lru_cache(maxsize=16)
def table(length):
    return torch.arange(length, device="cuda", dtype=torch.float32)[:, None].expand(length, 512).contiguous()


def main(steps):
    rng = random.Random(3)
    model = nn.Linear(512, 512).cuda()
    optimizer = torch.optim.Adam(model.parameters())
    for _ in range(steps):
        x = table(300 + rng.randrange(100))
        model(x).std().backward()
        optimizer.step()
        optimizer.zero_grad()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 50)
