"""Outputs are kept until their epoch ends; each epoch is longer than the one before."""

import sys

import torch
from torch import nn


def main(epochs):
    model = nn.Linear(300, 1000).cuda()
    optimizer = torch.optim.Adam(model.parameters())
    for epoch in range(epochs):
        outputs = []
        for _ in range(8 + 6 * epoch):
            out = model(torch.randn(128, 300, device="cuda"))
            out.square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()
            outputs.append(out.detach())
        print(epoch, torch.cat(outputs).mean().item())


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 4)
