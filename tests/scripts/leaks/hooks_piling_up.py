"""Registers a hook in every step and never removes one; each closes over the features of its step.

holder: Linear._forward_hooks|Encoder.last._forward_hooks|Encoder.last|Linear|target
made: encoder.first
fix: remove_hooks
"""

import sys

import torch
from torch import nn


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(200, 400)
        self.last = nn.Linear(400, 5)

    def forward(self, x):
        return self.last(torch.relu(self.first(x)))


def match(encoder, x):
    with torch.no_grad():
        target = encoder.first(x)

    def hook(module, inputs, output):
        return output + 0.0 * target.mean()

    encoder.last.register_forward_hook(hook)


def main(steps):
    encoder = Encoder().cuda()
    optimizer = torch.optim.Adagrad(encoder.parameters())
    for _ in range(steps):
        x = torch.randn(640, 200, device="cuda")
        match(encoder, x)
        with torch.no_grad():
            encoder(x)
        for p in encoder.parameters():
            p.grad = torch.zeros_like(p)
        optimizer.step()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
