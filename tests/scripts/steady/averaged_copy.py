"""An exponential average of the weights: one copy of the model, updated in place."""

import copy
import sys

import torch
from torch import nn


def make_model():
    return nn.Sequential(nn.Linear(256, 1024), nn.ReLU(), nn.Linear(1024, 256)).cuda()


def batch(size=512):
    return torch.randn(size, 256, device="cuda"), torch.randn(size, 256, device="cuda")


def train(model, optimizer, x, y):
    out = model(x)
    loss = nn.functional.mse_loss(out, y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return out.detach()


def main(steps):
    model = make_model()
    average = copy.deepcopy(model)
    optimizer = torch.optim.Adam(model.parameters())
    for _ in range(steps):
        train(model, optimizer, *batch())
        with torch.no_grad():
            for mean, parameter in zip(average.parameters(), model.parameters(), strict=True):
                mean.lerp_(parameter, 0.01)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 60)
