"""An attention layer keeps its maps on itself for visualisation.

holder: Attention.maps
made: softmax
"""

import sys

import torch
from torch import nn


def make_model():
    return nn.Sequential(nn.Linear(256, 1024), nn.ReLU(), nn.Linear(1024, 256)).cuda()


def batch():
    return torch.randn(512, 256, device="cuda"), torch.randn(512, 256, device="cuda")


class Attention(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width)
        self.maps = []

    def forward(self, x):
        q, k, v = self.qkv(x).chunk(3, -1)
        weights = torch.softmax(q @ k.transpose(-1, -2) / 16, -1)
        self.maps.append(weights.detach())
        return weights @ v


def main(steps):
    net = nn.Sequential(nn.Linear(64, 256), Attention(256), nn.Linear(256, 64)).cuda()
    optimizer = torch.optim.AdamW(net.parameters())
    for _ in range(steps):
        x = torch.randn(8, 256, 64, device="cuda")
        loss = (net(x) - x).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
