"""Adds up the validation loss for a log line, with its graph: `.item()` was forgotten.

holder: graph of total_loss (a scalar; local of main()
made: model(x)|mse_loss|total_loss +=
"""

import sys

import torch
from torch import nn


def make_model():
    return nn.Sequential(nn.Linear(256, 1024), nn.ReLU(), nn.Linear(1024, 256)).cuda()


def batch():
    return torch.randn(512, 256, device="cuda"), torch.randn(512, 256, device="cuda")


def main(steps):
    model = make_model()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    total_loss = 0
    for step in range(steps):
        x, y = batch()
        optimizer.zero_grad()
        nn.functional.mse_loss(model(x), y).backward()
        optimizer.step()
        total_loss += nn.functional.mse_loss(model(x + 0.1), y)
        if step % 50 == 0:
            print(step, float(total_loss) / (step + 1), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
