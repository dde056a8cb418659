"""Gradients of each step are put aside on the parameters themselves, to measure their noise.

holder: Sequential[0].weight.seen|Sequential[2].weight.seen
made: clone
"""

import sys

import torch
from torch import nn


def main(steps):
    model = nn.Sequential(nn.Linear(256, 768), nn.Tanh(), nn.Linear(768, 256)).cuda()
    for parameter in model.parameters():
        parameter.seen = []
    optimizer = torch.optim.RMSprop(model.parameters())
    for _ in range(steps):
        model(torch.randn(64, 256, device="cuda")).square().mean().backward()
        for parameter in model.parameters():
            parameter.seen.append(parameter.grad.clone())
        optimizer.step()
        optimizer.zero_grad()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
