"""itertools.cycle round an endless loader: it remembers every batch, to play them again.

holder: cycle|batches
made: torch.randn|torch.randint
"""

import itertools
import sys

import torch
import torch.nn.functional as F


def loader():
    while True:
        yield torch.randn(64, 3, 32, 32, device="cuda"), torch.randint(10, (64,), device="cuda")


def main(steps):
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, stride=2), torch.nn.GELU(), torch.nn.Flatten(), torch.nn.LazyLinear(10)
    ).cuda()
    batches = itertools.cycle(loader())
    net(next(batches)[0])
    opt = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    for step, (images, labels) in enumerate(batches):
        opt.zero_grad()
        F.cross_entropy(net(images), labels).backward()
        opt.step()
        if step == steps:
            break


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
