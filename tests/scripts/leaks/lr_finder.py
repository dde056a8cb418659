"""A search for the learning rate keeps each trial's loss and the weights that gave it.

holder: LRFinder.history
made: clone|loss_fn|model(
"""

import sys

import torch
from torch import nn


class LRFinder:
    def __init__(self, model, optimizer):
        self.model, self.optimizer = model, optimizer
        self.history = {"lr": [], "loss": [], "weights": []}

    def range_test(self, batches, steps):
        loss_fn, lr = nn.SmoothL1Loss(), 1e-7
        for _ in range(steps):
            x, y = next(batches)
            self.optimizer.param_groups[0]["lr"] = lr
            self.optimizer.zero_grad()
            loss = loss_fn(self.model(x), y)
            loss.backward()
            self.optimizer.step()
            self.history["lr"].append(lr)
            self.history["loss"].append(loss.detach())
            self.history["weights"].append({k: v.clone() for k, v in self.model.state_dict().items()})
            lr *= 1.01


def batches():
    while True:
        x = torch.randn(64, 300, device="cuda")
        yield x, x.roll(1, 0)


if __name__ == "__main__":
    model = nn.Sequential(nn.Linear(300, 300), nn.ELU(), nn.Linear(300, 300)).to("cuda")
    finder = LRFinder(model, torch.optim.SGD(model.parameters(), lr=1e-7))
    finder.range_test(batches(), int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
