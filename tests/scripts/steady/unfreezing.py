"""Fine-tuning thaws one more layer every eight steps: gradients and optimizer state are born in stairs."""

import sys

import torch
from torch import nn


def main(steps):
    layers = nn.ModuleList(nn.Linear(384, 384) for _ in range(6)).cuda()
    for layer in layers[:-1]:
        layer.requires_grad_(False)
    optimizer = torch.optim.AdamW(layers.parameters())
    for step in range(steps):
        if step % 8 == 7 and step // 8 < 5:
            layers[4 - step // 8].requires_grad_(True)
        x = torch.randn(64, 384, device="cuda")
        for layer in layers:
            x = layer(x).relu()
        x.mean().backward()
        optimizer.step()
        optimizer.zero_grad()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 60)
