"""Recurrent state, detached every step; the running loss is a number."""

import sys

import torch
from torch import nn


def batch(size=512):
    return torch.randn(size, 256, device="cuda"), torch.randn(size, 256, device="cuda")


def main(steps):
    cell = nn.GRUCell(256, 256).cuda()
    optimizer = torch.optim.Adam(cell.parameters())
    state = torch.zeros(512, 256, device="cuda")
    total = 0.0
    for _ in range(steps):
        x, y = batch()
        state = cell(x, state.detach())
        loss = nn.functional.mse_loss(state, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item()
    print(total / steps)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 60)
