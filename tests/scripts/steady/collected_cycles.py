"""Outputs in reference cycles, which the collector frees from time to time."""

import gc
import sys

import torch
from torch import nn


class Node:
    def __init__(self, value):
        self.value, self.itself = value, self


def main(steps):
    model = nn.Linear(256, 512).cuda()
    optimizer = torch.optim.Adam(model.parameters())
    for step in range(steps):
        node = Node(model(torch.randn(256, 256, device="cuda")))
        node.value.square().mean().backward()
        node.value = node.value.detach()
        optimizer.step()
        optimizer.zero_grad()
        if step % 12 == 11:
            gc.collect()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 60)
