"""A training that keeps its outputs and ends by an exception that has nothing to do with memory."""

import torch
from torch import nn


def main():
    model, outputs = nn.Linear(512, 512).cuda(), []
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(40):
        outputs.append(model(torch.randn(512, 512, device="cuda")).detach())
        optimizer.zero_grad()
        model(outputs[-1]).mean().backward()
        optimizer.step()
    raise LookupError("no batch 40")


if __name__ == "__main__":
    main()
