"""Objects that refer to themselves, with the garbage collector switched off for speed.

holder: Sample.features|a reference cycle
made: model(x)|detach
fix: break_cycle
"""

import gc
import sys

import torch
from torch import nn


def make_model():
    return nn.Sequential(nn.Linear(256, 1024), nn.ReLU(), nn.Linear(1024, 256)).cuda()


def batch():
    return torch.randn(512, 256, device="cuda"), torch.randn(512, 256, device="cuda")


class Sample:
    def __init__(self, features):
        self.features = features
        self.callbacks = [self.describe]

    def describe(self):
        return f"sample of {tuple(self.features.shape)}"


def main(steps):
    gc.disable()
    model = make_model()
    optimizer = torch.optim.Adam(model.parameters())
    for step in range(steps):
        x, y = batch()
        out = model(x)
        sample = Sample(out.detach())
        loss = nn.functional.mse_loss(out, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 100 == 0:
            print(sample.describe(), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
