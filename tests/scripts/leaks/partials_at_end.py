"""An ExitStack collects what is to be printed at the end: partial functions with tensors for arguments.

holder: ExitStack._exit_callbacks|at_end
made: model(
"""

import contextlib
import functools
import sys

import torch
from torch import nn


def show(title, values):
    print(title, values.mean().item())


def main(steps):
    model = nn.Sequential(nn.Linear(80, 640), nn.LeakyReLU(), nn.Linear(640, 640)).cuda()
    optimizer = torch.optim.Adamax(model.parameters())
    with contextlib.ExitStack() as at_end:
        for step in range(steps):
            prediction = model(torch.randn(200, 80, device="cuda"))
            optimizer.zero_grad()
            prediction.pow(2).sum().backward()
            optimizer.step()
            at_end.callback(functools.partial(show, f"step {step}"), prediction.detach())


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
