"""A cache that holds its values weakly: they live as long as the step that uses them."""

import sys
import weakref

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


class Features:
    def __init__(self, value):
        self.value = value


def main(steps):
    model = make_model()
    optimizer = torch.optim.Adam(model.parameters())
    cache = weakref.WeakValueDictionary()
    for step in range(steps):
        x, y = batch()
        features = Features(x.abs())
        cache[step] = features
        train(model, optimizer, cache[step].value, y)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 60)
