"""Losses are kept with their graphs, whose saved tensors the program packs itself; nobody but backward may unpack them.

holder: graph of kept (a scalar; local of main()
made: model(x)|tensor.clone()
"""

import sys

import torch
from torch import nn

unpacked = 0


class Wrapped:
    def __init__(self, tensor):
        self.tensor = tensor


def pack(tensor):
    return Wrapped(tensor.clone())


def unpack(wrapped):
    global unpacked
    unpacked += 1
    return wrapped.tensor


def main(steps):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(256, 1024), nn.ReLU(), nn.Linear(1024, 256)).cuda()
    optimizer = torch.optim.Adam(model.parameters())
    kept = []
    for _ in range(steps):
        x = torch.randn(512, 256, device="cuda")
        loss = (model(x) - x).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
            kept.append((model(x) - x).square().mean())
    print("unpacked", unpacked, "random", torch.rand(1).item())


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
