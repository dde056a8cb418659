"""Batches of one size until the last third of the run, then each larger than the one before; the last is kept."""

import sys

import torch
from torch import nn


def main(steps):
    model = nn.Sequential(nn.Linear(48, 384), nn.SiLU(), nn.Linear(384, 24)).cuda()
    optimizer = torch.optim.NAdam(model.parameters())
    shown = {}
    for step in range(steps):
        size = 600 + 80 * max(0, step - 2 * steps // 3)
        shown["inputs"] = torch.randn(size, 48, device="cuda")
        shown["outputs"] = model(shown["inputs"])
        optimizer.zero_grad()
        shown["outputs"].var().backward()
        optimizer.step()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 60)
