"""A cache at module level whose keys never repeat.

holder: _MASKS
made: torch.ones
"""

import sys

import torch
from torch import nn


def make_model():
    return nn.Sequential(nn.Linear(256, 1024), nn.ReLU(), nn.Linear(1024, 256)).cuda()


def batch():
    return torch.randn(512, 256, device="cuda"), torch.randn(512, 256, device="cuda")


_MASKS = {}


def mask(step, size):
    key = (step, size)
    if key not in _MASKS:
        _MASKS[key] = torch.ones(512, size, device="cuda").tril()
    return _MASKS[key]


def main(steps):
    model = make_model()
    optimizer = torch.optim.Adam(model.parameters())
    for step in range(steps):
        x, y = batch()
        loss = nn.functional.mse_loss(model(x * mask(step, 256)), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
