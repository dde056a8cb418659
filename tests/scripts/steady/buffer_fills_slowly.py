"""A queue of features for contrastive learning takes half of the run to fill its preset number of batches."""

import sys

import torch
from torch import nn


class FeatureQueue:
    def __init__(self, batches):
        self.batches, self.entries = batches, []

    def push(self, features):
        self.entries.append(features)
        del self.entries[: -self.batches]

    def all(self):
        return torch.cat(self.entries)


def main(steps):
    encoder, queue = nn.Linear(64, 256).cuda(), FeatureQueue(40)
    optimizer = torch.optim.SGD(encoder.parameters(), lr=0.1)
    for _ in range(steps):
        z = encoder(torch.randn(256, 64, device="cuda"))
        queue.push(z.detach())
        torch.logsumexp(z @ queue.all().T, 1).mean().backward()
        optimizer.step()
        optimizer.zero_grad()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 80)
