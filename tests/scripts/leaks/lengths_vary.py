"""Sequences of all lengths; the attention weights of each are kept for a picture.

holder: attention_maps
made: softmax
"""

import random
import sys

import torch
from torch import nn

attention_maps = []


class Attention(nn.Module):
    def __init__(self, width=64):
        super().__init__()
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x):
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        weights = torch.softmax(q @ k.transpose(1, 2) / 8, dim=-1)
        attention_maps.append(weights.detach())
        return self.out(weights @ v)


def main(steps):
    rng = random.Random(7)
    model = Attention().cuda()
    optimizer = torch.optim.AdamW(model.parameters())
    for _ in range(steps):
        x = torch.randn(4, rng.randrange(40, 400), 64, device="cuda")
        optimizer.zero_grad()
        (model(x) - x).square().mean().backward()
        optimizer.step()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
