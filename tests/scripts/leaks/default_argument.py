"""A mutable default argument collects what was meant to be there for one call.

holder: seen (default argument of smoothness()
made: out.detach()
"""

import sys

import torch
from torch import nn


def make_model():
    return nn.Sequential(nn.Linear(256, 1024), nn.ReLU(), nn.Linear(1024, 256)).cuda()


def batch():
    return torch.randn(512, 256, device="cuda"), torch.randn(512, 256, device="cuda")


def smoothness(out, seen=[]):  # noqa: B006 - the mistake that this script is about
    seen.append(out.detach() - out.detach().mean(0))
    return (seen[-1] - seen[0]).square().mean()


def main(steps):
    model = make_model()
    optimizer = torch.optim.Adam(model.parameters())
    for _ in range(steps):
        x, y = batch()
        out = model(x)
        loss = nn.functional.mse_loss(out, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        smoothness(out)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
