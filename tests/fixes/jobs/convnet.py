"""Convolutions that halve the map and double the channels; gradients are dropped before the backward."""

import knobs as k
import torch
from torch import nn


class Stage(nn.Module):
    def __init__(self, channels, out):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, out, 3, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU(), nn.MaxPool2d(2)
        )

    def forward(self, x):
        return self.body(x)


class Net(nn.Module):
    def __init__(self, o):
        super().__init__()
        self.o = o
        sizes = [3] + [o.width * 2**i for i in range(o.depth)]
        self.stages = nn.ModuleList([Stage(a, b) for a, b in zip(sizes, sizes[1:], strict=False)])
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(sizes[-1], 10)

    def forward(self, x):
        return self.head(self.pool(k.blocks(self.o, self.stages, x)).flatten(1))


def main():
    o = k.read(width=32, depth=4, batch_size=64)
    net = k.placed(o, Net(o))
    opt = k.optimizer(o, net.parameters(), **({"momentum": 0.9} if o.optimizer == "SGD" else {}))
    for _ in range(o.steps):
        for part in range(o.accumulation):
            images, labels = k.data(o, o.batch_size, 3, 128, 128), torch.randint(10, (o.batch_size,)).to("cuda")
            loss = nn.functional.cross_entropy(net(images), labels)
            if part == 0:
                opt.zero_grad()
            loss.backward()
        opt.step()


main()
