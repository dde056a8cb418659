"""A network that is grown by a layer three times, as planned, with a new optimizer each time."""

import sys

import torch
from torch import nn


def main(steps):
    net = nn.Sequential(nn.Linear(256, 512), nn.ReLU(), nn.Linear(512, 256)).cuda()
    optimizer = torch.optim.AdamW(net.parameters())
    for step in range(steps):
        if step and step % (steps // 4) == 0:
            net.append(nn.Linear(256, 256).cuda())
            optimizer = torch.optim.AdamW(net.parameters())
        net(torch.randn(128, 256, device="cuda")).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 120)
