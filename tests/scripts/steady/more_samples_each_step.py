"""The batch grows by one sample a step to the end; samples go through the model one by one, outputs into a list."""

import sys

import torch
from torch import nn


def main(steps):
    model = nn.Sequential(nn.Conv1d(4, 32, 3), nn.GELU(), nn.Conv1d(32, 32, 3)).cuda()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for step in range(steps):
        outputs = []
        for _ in range(6 + step):
            signal = torch.randn(1, 4, 2048)
            outputs.append(model(signal.cuda()))
        loss = torch.stack(outputs).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 50)
