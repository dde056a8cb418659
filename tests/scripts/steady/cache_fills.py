"""A cache of masks by length, which has met every length after a while."""

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
    optimizer = torch.optim.Adam(model.parameters())
    masks = {}
    for step in range(steps):
        length = 256 + 16 * (step % 24)
        if length not in masks:
            masks[length] = torch.ones(length, 512, device="cuda").tril()
        x, y = batch(length)
        train(model, optimizer, x * masks[length].mean(), y)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 60)
