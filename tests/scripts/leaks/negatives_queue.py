"""Negatives for a contrastive loss are joined after each step; only the newest are used, all of them stay.

holder: negatives
made: torch.cat
"""

import sys

import torch
from torch import nn
from torch.nn import functional as F


def main(steps):
    encoder = nn.Sequential(nn.Linear(128, 512), nn.ReLU(), nn.Linear(512, 256)).cuda()
    optimizer = torch.optim.SGD(encoder.parameters(), lr=0.05, momentum=0.9)
    negatives = torch.randn(1024, 256, device="cuda")
    for _ in range(steps):
        keys = encoder(torch.randn(1024, 128, device="cuda"))
        logits = keys @ negatives[-1024:].t()
        F.cross_entropy(logits, torch.arange(1024, device="cuda")).backward()
        optimizer.step()
        optimizer.zero_grad()
        negatives = torch.cat([negatives, keys.detach()])


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
