"""Two leaks at once: embeddings in a list of an object (the larger), and their norms in a dictionary.

holder: Index.vectors
other: norms
made: embed(
"""

import sys

import torch
from torch import nn


class Index:
    def __init__(self):
        self.vectors = []

    def add(self, vectors):
        self.vectors.extend(vectors.unbind(0))


def main(steps):
    embed = nn.Sequential(nn.Linear(128, 512), nn.ReLU(), nn.Linear(512, 512)).cuda()
    optimizer = torch.optim.Adam(embed.parameters())
    index, norms = Index(), {}
    for step in range(steps):
        z = embed(torch.randn(512, 128, device="cuda"))
        (1 - nn.functional.cosine_similarity(z, z.roll(1, 0))).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        norms[step] = z.detach().norm(dim=1, keepdim=True).expand(-1, 256).contiguous()
        index.add(z.detach())


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
