"""Batches whose backward fails are skipped: the error is kept for a report, and so is the loss.

holder: graph of bad_losses|Report.errors|graph of Report.errors
other: bad_losses|graph of bad_losses|Report.errors|graph of Report.errors
"""

import sys

import torch
from torch import nn


class Checked(torch.autograd.Function):
    calls = 0

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x.sigmoid())
        return x * 2

    @staticmethod
    def backward(ctx, gradient):
        Checked.calls += 1
        if Checked.calls % 2:
            raise ArithmeticError(f"batch {Checked.calls} has no finite gradient")
        return gradient * 2


class Report:
    def __init__(self):
        self.errors = []


bad_losses = []


def main(steps):
    report = Report()
    model = nn.Linear(512, 1024).cuda()
    optimizer = torch.optim.AdamW(model.parameters())
    for _ in range(2 * steps):
        loss = Checked.apply(model(torch.randn(512, 512, device="cuda"))).mean()
        optimizer.zero_grad()
        try:
            loss.backward()
            optimizer.step()
        except ArithmeticError as error:
            report.errors.append(error)
            bad_losses.append(loss)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
