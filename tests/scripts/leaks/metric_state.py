"""A metric in the style of torchmetrics collects list states; reset() is never called.

holder: RetrievalMetric.preds
made: softmax
"""

import sys

import torch
from torch import nn


def make_model():
    return nn.Sequential(nn.Linear(256, 1024), nn.ReLU(), nn.Linear(1024, 256)).cuda()


def batch():
    return torch.randn(512, 256, device="cuda"), torch.randn(512, 256, device="cuda")


class Metric:
    def __init__(self):
        self._defaults = {}

    def add_state(self, name, default):
        self._defaults[name] = default
        setattr(self, name, list(default))

    def reset(self):
        for name, default in self._defaults.items():
            setattr(self, name, list(default))


class RetrievalMetric(Metric):
    def __init__(self):
        super().__init__()
        self.add_state("preds", [])
        self.add_state("target", [])

    def update(self, preds, target):
        self.preds.append(preds)
        self.target.append(target)


def main(steps):
    model = make_model()
    optimizer = torch.optim.Adam(model.parameters())
    metric = RetrievalMetric()
    for _ in range(steps):
        x, y = batch()
        target = y.argmax(1)
        out = model(x)
        loss = nn.functional.cross_entropy(out, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            metric.update(torch.softmax(out, 1), target)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
