"""A meter keeps an exponential average of the loss, and so the graph of every loss there was.

holder: graph of AverageMeter.average
made: model(x|mse_loss
"""

import sys

import torch
from torch import nn


def make_model():
    return nn.Sequential(nn.Linear(256, 1024), nn.ReLU(), nn.Linear(1024, 256)).cuda()


def batch():
    return torch.randn(512, 256, device="cuda"), torch.randn(512, 256, device="cuda")


class AverageMeter:
    def __init__(self):
        self.average = None

    def update(self, value):
        self.average = value if self.average is None else 0.9 * self.average + 0.1 * value


def main(steps):
    model = make_model()
    optimizer = torch.optim.Adam(model.parameters())
    meter = AverageMeter()
    for _ in range(steps):
        x, y = batch()
        optimizer.zero_grad()
        nn.functional.mse_loss(model(x), y).backward()
        optimizer.step()
        meter.update(nn.functional.mse_loss(model(x.flip(0)), y))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
