"""Results gathered in a tree of settings that a module keeps.

holder: settings.run.results['hidden']|settings.run.results
made: self.inner(
"""

import sys
from types import SimpleNamespace

import torch
from torch import nn

settings = SimpleNamespace(run=SimpleNamespace(results={"hidden": [], "names": []}))


class Probe(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.outer = nn.Linear(256, 512), nn.Linear(512, 256)

    def forward(self, x):
        hidden = self.inner(x)
        settings.run.results["hidden"].append(hidden.detach())
        return self.outer(hidden.relu())


def main(steps):
    probe = Probe().cuda()
    optimizer = torch.optim.Adam(probe.parameters())
    for _ in range(steps):
        optimizer.zero_grad()
        probe(torch.randn(512, 256, device="cuda")).square().mean().backward()
        optimizer.step()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
