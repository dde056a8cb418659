"""A replay memory that overwrites its oldest entries once it is full."""

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
    memory = [None] * 20
    for step in range(steps):
        x, y = batch()
        memory[step % 20] = x
        train(model, optimizer, memory[step // 2 % 20], y)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 60)
