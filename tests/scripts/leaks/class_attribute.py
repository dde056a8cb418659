"""A list in the class body is shared by all instances and never emptied.

holder: BatchStats.seen
made: features.detach()
"""

import sys

import torch
from torch import nn


def make_model():
    return nn.Sequential(nn.Linear(256, 1024), nn.ReLU(), nn.Linear(1024, 256)).cuda()


def batch():
    return torch.randn(512, 256, device="cuda"), torch.randn(512, 256, device="cuda")


class BatchStats:
    seen = []

    def add(self, features):
        self.seen.append(features.detach().clone())


def main(steps):
    model = make_model()
    optimizer = torch.optim.Adam(model.parameters())
    for _ in range(steps):
        stats = BatchStats()
        x, y = batch()
        hidden = model[1](model[0](x))
        stats.add(hidden)
        loss = nn.functional.mse_loss(model[2](hidden), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
