"""Every ten steps an evaluation keeps its outputs for a metric, and lets them go."""

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


def evaluate(model):
    model.eval()
    with torch.no_grad():
        outputs = [model(batch()[0]) for _ in range(12)]
    model.train()
    return torch.cat(outputs).mean().item()


def main(steps):
    model = make_model()
    optimizer = torch.optim.Adam(model.parameters())
    for step in range(steps):
        train(model, optimizer, *batch())
        if step % 10 == 9:
            print(evaluate(model))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 60)
