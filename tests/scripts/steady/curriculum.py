"""A curriculum: sequences grow every few steps until they have their full length."""

import sys

import torch
from torch import nn


def main(steps):
    model = nn.GRU(64, 256, batch_first=True).cuda()
    optimizer = torch.optim.Adam(model.parameters())
    for step in range(steps):
        length = min(32 + 8 * (step // 3), 160)
        out, _ = model(torch.randn(32, length, 64, device="cuda"))
        out.square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 70)
