"""Cells of a notebook, each a file of its own name that runs once; what a cell shows last stays in its history.

holder: shown
"""

import sys

import torch
from torch import nn

SET_UP = """
net = nn.Linear(512, 512).cuda()
optimizer = torch.optim.Adam(net.parameters())
"""
CELL = """
data = torch.randn(512, 512, device="cuda")
prediction = net(data)
prediction.abs().mean().backward()
optimizer.step()
optimizer.zero_grad()
shown[number] = prediction.detach()
"""


def main(steps):
    names = {"torch": torch, "nn": nn, "shown": {}}
    exec(compile(SET_UP, "<ipython-input-1-5e7>", "exec"), names)
    for number in range(2, steps + 2):
        names["number"] = number
        exec(compile(CELL, f"<ipython-input-{number}-c311>", "exec"), names)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
