"""A custom autograd function notes its inputs in a list on its class, for a debugging session long ago.

holder: Quantize.seen
made: x * scale|torch.rand|(x
"""

import sys

import torch
from torch import nn


class Quantize(torch.autograd.Function):
    seen = []

    @staticmethod
    def forward(ctx, x, scale):
        q = (x * scale).round_() / scale
        Quantize.seen.append(q.detach())
        return q

    @staticmethod
    def backward(ctx, gradient):
        return gradient, None


def main(steps):
    torch.manual_seed(0)
    layer = nn.Linear(512, 512, bias=False).cuda()
    opt = torch.optim.SGD(layer.parameters(), lr=0.01)
    step = 0
    while step < steps:
        y = layer(Quantize.apply(torch.rand(300, 512, device="cuda"), 16))
        (y - 1).abs().mean().backward()
        opt.step()
        opt.zero_grad()
        step += 1


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
