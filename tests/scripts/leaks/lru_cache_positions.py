"""Caches positional features by length, but every step asks for another one.

holder: cache of positions()
made: torch.arange|torch.sin|angles|torch.stack
fix: bound_container
"""

import functools
import sys

import torch
from torch import nn


def make_model():
    return nn.Sequential(nn.Linear(256, 1024), nn.ReLU(), nn.Linear(1024, 256)).cuda()


def batch():
    return torch.randn(512, 256, device="cuda"), torch.randn(512, 256, device="cuda")


@functools.cache
def positions(offset):
    angles = torch.arange(512 * 256, device="cuda").reshape(512, 256) + offset
    return torch.stack([torch.sin(angles), torch.cos(angles)])


def main(steps):
    model = make_model()
    optimizer = torch.optim.Adam(model.parameters())
    for step in range(steps):
        x, y = batch()
        sin, cos = positions(step)
        loss = nn.functional.mse_loss(model(x + sin - cos), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
