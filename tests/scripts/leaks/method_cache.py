"""functools.cache on a method: keyed by a step that never comes again.

holder: cache of
made: torch.linspace|torch.outer|return
"""

import functools
import sys

import torch
from torch import nn


class Schedule(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(96, 300), nn.SiLU(), nn.Linear(300, 96))

    @functools.cache  # noqa: B019 - the mistake itself
    def noise_level(self, step):
        levels = torch.linspace(0, 1, 1024, device="cuda") ** (1 + step)
        return torch.outer(levels, torch.ones(96, device="cuda"))

    def loss(self, x, step):
        level = self.noise_level(step)
        return (self.net(x + level * torch.randn_like(x)) - x).pow(2).mean()


def run(steps):
    model = Schedule().cuda()
    optimizer = torch.optim.AdamW(model.parameters(), foreach=True)
    for step in range(steps):
        optimizer.zero_grad()
        model.loss(torch.randn(1024, 96, device="cuda"), step).backward()
        optimizer.step()


if __name__ == "__main__":
    run(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
