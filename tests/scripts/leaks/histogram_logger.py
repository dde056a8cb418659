"""A logger stores gradients by name, to write histograms once an epoch.

holder: Logger.values['0.weight']|Logger.values
made: tensor.clone()
"""

import sys
from collections import defaultdict

import torch
from torch import nn


def make_model():
    return nn.Sequential(nn.Linear(256, 1024), nn.ReLU(), nn.Linear(1024, 256)).cuda()


def batch():
    return torch.randn(512, 256, device="cuda"), torch.randn(512, 256, device="cuda")


class Logger:
    def __init__(self):
        self.values = defaultdict(list)

    def log(self, name, tensor):
        self.values[name].append(tensor.clone())


def main(steps):
    model = make_model()
    optimizer = torch.optim.Adam(model.parameters())
    logger = Logger()
    for _ in range(steps):
        x, y = batch()
        loss = nn.functional.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        for name, parameter in model.named_parameters():
            logger.log(name, parameter.grad)
        optimizer.step()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
