"""Keeps hard examples in a heap by loss, and never pops: tuples in a list in an object in a dictionary.

holder: HardExamples.heap
made: torch.randn|batch
"""

import heapq
import itertools
import sys

import torch
from torch import nn


class HardExamples:
    def __init__(self, keep):
        self.keep, self.heap, self.counter = keep, [], itertools.count()

    def offer(self, loss, example):
        heapq.heappush(self.heap, (loss, next(self.counter), {"example": example}))


def main(steps):
    tools = {"hard": HardExamples(keep=10)}
    model = nn.Linear(1000, 10).cuda()
    optimizer = torch.optim.Adam(model.parameters())
    for _ in range(steps):
        batch = torch.randn(100, 1000, device="cuda")
        loss = model(batch).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        tools["hard"].offer(loss.item(), batch)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
