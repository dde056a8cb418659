"""A compiled model that is compiled anew for the first few lengths."""

import sys

import torch
from torch import nn


def main(steps):
    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64)).cuda()
    compiled = torch.compile(model, backend="aot_eager", dynamic=False)
    optimizer = torch.optim.Adam(model.parameters())
    for step in range(steps):
        x = torch.randn(64 + 32 * min(step // 2, 4), 64, device="cuda")
        compiled(x).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 40)
