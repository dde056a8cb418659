"""lru_cache with a tensor argument: the cache keeps the argument, and no two are the same.

holder: cache of normalized()
made: torch.randn|layer_norm
"""

import functools
import sys

import torch
from torch import nn


def make_model():
    return nn.Sequential(nn.Linear(256, 1024), nn.ReLU(), nn.Linear(1024, 256)).cuda()


def batch():
    return torch.randn(512, 256, device="cuda"), torch.randn(512, 256, device="cuda")


@functools.lru_cache(maxsize=4096)
def normalized(x):
    return nn.functional.layer_norm(x, (256,))


def main(steps):
    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for _ in range(steps):
        x, y = batch()
        loss = nn.functional.mse_loss(model(normalized(x)), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
