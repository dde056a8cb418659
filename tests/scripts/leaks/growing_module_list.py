"""An adapter is added to a ModuleList for each step instead of for each task.

holder: Progressive.columns|net.columns
made: nn.Linear
fix: drop_parameters
"""

import sys

import torch
from torch import nn


class Progressive(nn.Module):
    def __init__(self):
        super().__init__()
        self.base = nn.Linear(256, 256)
        self.columns = nn.ModuleList()

    def grow(self):
        self.columns.append(nn.Linear(256, 1024, device="cuda"))

    def forward(self, x):
        return self.columns[-1](self.base(x))


def main(steps):
    net = Progressive().cuda()
    optimizer = torch.optim.SGD(net.base.parameters(), lr=0.01)
    for _ in range(steps):
        net.grow()
        net(torch.randn(128, 256, device="cuda")).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        for p in net.columns.parameters():
            p.grad = None


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
