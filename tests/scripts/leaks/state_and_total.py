"""A recurrent state that is carried on with its graph, and a sum of losses that keeps the same graphs.

holder: graph of total|graph of Tagger.state
other: graph of total|graph of Tagger.state|Tagger.state
"""

import sys

import torch
from torch import nn


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell, self.head = nn.GRUCell(96, 256), nn.Linear(256, 32)
        self.state = None

    def forward(self, x):
        self.state = self.cell(x, torch.zeros(len(x), 256, device=x.device) if self.state is None else self.state)
        return self.head(self.state)


def main(steps):
    tagger = Tagger().cuda()
    optimizer = torch.optim.SGD(tagger.parameters(), lr=0.01)
    total = 0
    for step in range(steps * 3):
        total = total + tagger(torch.randn(128, 96, device="cuda")).square().mean()
        if step % 3 == 2:  # somebody has taken the backward out
            optimizer.step()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
