"""A metric logger like that of torchvision's reference scripts, updated with tensors instead of numbers.

holder: graph of SmoothedValue.total|graph of MetricLogger.meters
made: net(|nll_loss|torch.randn
"""

import sys
from collections import defaultdict

import torch
from torch import nn


class SmoothedValue:
    def __init__(self):
        self.total, self.count = 0.0, 0

    def update(self, value, n=1):
        self.count += n
        self.total = self.total + value * n


class MetricLogger:
    def __init__(self):
        self.meters = defaultdict(SmoothedValue)

    def update(self, **values):
        for name, value in values.items():
            self.meters[name].update(value)

    def log_every(self, iterable):
        for number, item in enumerate(iterable):
            yield item
            if number % 100 == 99:
                print(number, flush=True)


def data(steps):
    for _ in range(steps):
        yield torch.randn(128, 64, 16, device="cuda"), torch.randint(12, (128,), device="cuda")


def main(steps):
    net = nn.Sequential(nn.Flatten(), nn.Linear(1024, 256), nn.Tanh(), nn.Linear(256, 12), nn.LogSoftmax(1)).cuda()
    optimizer = torch.optim.RMSprop(net.parameters())
    logger = MetricLogger()
    for image, target in logger.log_every(data(steps)):
        loss = nn.functional.nll_loss(net(image), target)
        optimizer.zero_grad(set_to_none=True)
        loss.backward(retain_graph=True)
        optimizer.step()
        logger.update(loss=loss, lr=optimizer.param_groups[0]["lr"])


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
