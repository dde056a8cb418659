"""A deque without maxlen as history, inside an object.

holder: Monitor.window
made: self.window.append
"""

import sys
from collections import deque

import torch
from torch import nn


def make_model():
    return nn.Sequential(nn.Linear(256, 1024), nn.ReLU(), nn.Linear(1024, 256)).cuda()


def batch():
    return torch.randn(512, 256, device="cuda"), torch.randn(512, 256, device="cuda")


class Monitor:
    def __init__(self):
        self.window = deque()

    def update(self, out):
        self.window.append(out.detach().abs())


def main(steps):
    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    monitor = Monitor()
    for _ in range(steps):
        x, y = batch()
        out = model(x)
        loss = nn.functional.l1_loss(out, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        monitor.update(out)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
