"""Every fifth step an evaluation appends what it predicted to a table that is only written at the end.

holder: Evaluator.table['logits']|Evaluator.table
made: model(
"""

import sys
from collections import defaultdict

import torch
from torch import nn


class Evaluator:
    def __init__(self):
        self.table = defaultdict(list)

    @torch.no_grad()
    def __call__(self, model, batches):
        model.eval()
        for x, y in batches:
            self.table["logits"].append(model(x))
            self.table["labels"].append(y)
        model.train()


def batches(number):
    return [(torch.randn(256, 200, device="cuda"), torch.randint(1000, (256,), device="cuda")) for _ in range(number)]


def main(steps):
    evaluate, model = Evaluator(), nn.Linear(200, 1000).cuda()
    optimizer = torch.optim.Adam(model.parameters())
    for step in range(steps):
        ((x, y),) = batches(1)
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
        optimizer.zero_grad()
        if (step + 1) % 5 == 0:
            evaluate(model, batches(3))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
