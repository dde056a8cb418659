"""A custom autograd function stores a mask on its context; a running sum keeps the graph of each.

holder: graph of penalty (a scalar; local of main()
made: torch.rand|x * |model(x)|.mean()|Dropped.apply
"""

import sys

import torch
from torch import nn


def make_model():
    return nn.Sequential(nn.Linear(256, 1024), nn.ReLU(), nn.Linear(1024, 256)).cuda()


def batch():
    return torch.randn(512, 256, device="cuda"), torch.randn(512, 256, device="cuda")


class Dropped(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.mask = (torch.rand(x.shape, device="cuda") > 0.5).float()
        return x * ctx.mask

    @staticmethod
    def backward(ctx, gradient):
        return gradient * ctx.mask


def main(steps):
    model = make_model()
    optimizer = torch.optim.Adam(model.parameters())
    penalty = torch.zeros((), device="cuda")
    for _ in range(steps):
        x, y = batch()
        out = model(x)
        loss = nn.functional.mse_loss(out, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        penalty = penalty + Dropped.apply(model(x)).mean()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
