"""A queue for a writer thread that was never started.

holder: Queue.queue
made: model(x)|detach
"""

import queue
import sys

import torch
from torch import nn


def make_model():
    return nn.Sequential(nn.Linear(256, 1024), nn.ReLU(), nn.Linear(1024, 256)).cuda()


def batch():
    return torch.randn(512, 256, device="cuda"), torch.randn(512, 256, device="cuda")


def main(steps):
    model = make_model()
    optimizer = torch.optim.Adam(model.parameters())
    to_write = queue.Queue()
    for step in range(steps):
        x, y = batch()
        out = model(x)
        loss = nn.functional.mse_loss(out, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        to_write.put((step, out.detach()))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
