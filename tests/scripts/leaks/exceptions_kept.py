"""Collects the exceptions of bad batches; their tracebacks keep the frames, and these the batch.

holder: errors
made: torch.randn|model(x)
"""

import sys

import torch
from torch import nn


def make_model():
    return nn.Sequential(nn.Linear(256, 1024), nn.ReLU(), nn.Linear(1024, 256)).cuda()


def batch():
    return torch.randn(512, 256, device="cuda"), torch.randn(512, 256, device="cuda")


def check(x, out):
    if out.shape[0] > 1:
        raise ValueError("unexpected values in this batch")


def process(model, x):
    out = model(x).detach()
    check(x, out)


def main(steps):
    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    errors = []
    for _ in range(steps):
        x, y = batch()
        loss = nn.functional.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        try:
            process(model, x)
        except ValueError as error:
            errors.append(error)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
