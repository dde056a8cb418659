"""Appends validation losses to a local list, outside no_grad.

holder: graph of losses (a scalar; local of train_epoch()
made: model(x)|cross_entropy
"""

import sys

import torch
from torch import nn


def make_model():
    return nn.Sequential(nn.Linear(256, 1024), nn.ReLU(), nn.Linear(1024, 256)).cuda()


def batch():
    return torch.randn(512, 256, device="cuda"), torch.randn(512, 256, device="cuda")


def train_epoch(model, optimizer, steps):
    losses = []
    for _ in range(steps):
        x, _ = batch()
        target = torch.randint(0, 256, (512,), device="cuda")
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), target).backward()
        optimizer.step()
        losses.append(nn.functional.cross_entropy(model(x), target))
    return torch.stack(losses).mean().item()


def main(steps):
    model = make_model()
    print(train_epoch(model, torch.optim.SGD(model.parameters(), lr=0.1), steps))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
