"""A generator that smooths outputs keeps all it was ever sent.

holder: a local of smoother()
made: model(x)|detach
fix: finish_generators
"""

import sys

import torch
from torch import nn


def make_model():
    return nn.Sequential(nn.Linear(256, 1024), nn.ReLU(), nn.Linear(1024, 256)).cuda()


def batch():
    return torch.randn(512, 256, device="cuda"), torch.randn(512, 256, device="cuda")


def smoother():
    window = []
    mean = None
    while True:
        window.append((yield mean))
        mean = window[-1].mean()


def main(steps):
    model = make_model()
    optimizer = torch.optim.Adam(model.parameters())
    smooth = smoother()
    next(smooth)
    for _ in range(steps):
        x, y = batch()
        out = model(x)
        loss = nn.functional.mse_loss(out, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        smooth.send(out.detach())


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
