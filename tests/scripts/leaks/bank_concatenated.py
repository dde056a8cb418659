"""A memory bank in the style of MoCo grows by concatenation; the limit was forgotten.

holder: Contrast.bank
made: torch.cat
"""

import sys

import torch
from torch import nn


def make_model():
    return nn.Sequential(nn.Linear(256, 1024), nn.ReLU(), nn.Linear(1024, 256)).cuda()


def batch():
    return torch.randn(512, 256, device="cuda"), torch.randn(512, 256, device="cuda")


class Contrast(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = make_model()
        self.bank = None

    def forward(self, x):
        keys = self.net(x)
        kept = keys.detach()
        self.bank = kept if self.bank is None else torch.cat([self.bank, kept])
        return keys.square().mean()


def main(steps):
    contrast = Contrast().cuda()
    optimizer = torch.optim.Adam(contrast.parameters())
    for _ in range(steps):
        x, _ = batch()
        loss = contrast(x)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
