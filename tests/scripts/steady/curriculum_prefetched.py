"""Sequences that grow in every step of the whole run, the next two loaded ahead and the last states kept for a plot."""

import sys
from collections import deque

import torch
from torch import nn


def main(steps):
    model = nn.LSTM(32, 192, batch_first=True).cuda()
    optimizer = torch.optim.AdamW(model.parameters())
    ahead = deque(torch.randn(24, 20 + 4 * step, 32, device="cuda") for step in range(2))
    for step in range(2, steps + 2):
        ahead.append(torch.randn(24, 20 + 4 * step, 32, device="cuda"))
        states, _ = model(ahead.popleft())
        shown = states.detach()
        states.square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    print(shown.shape)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 60)
