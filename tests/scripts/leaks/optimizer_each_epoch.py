"""Each epoch gets an optimizer of its own, and all of them are kept for a resume that never comes.

holder: Run.optimizers
made: optimizer.step
fix: drop_optimizers
"""

import sys

import torch
from torch import nn


class Run:
    def __init__(self):
        self.model = nn.Sequential(nn.Linear(384, 768), nn.GELU(), nn.Linear(768, 384)).cuda()
        self.optimizers = {}

    def epoch(self, number, batches=2):
        optimizer = self.optimizers[number] = torch.optim.Adam(self.model.parameters())
        for _ in range(batches):
            self.model(torch.randn(64, 384, device="cuda")).square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()


def main(steps):
    run = Run()
    for number in range((steps + 1) // 2):
        run.epoch(number)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
