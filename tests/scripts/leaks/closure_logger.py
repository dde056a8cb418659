"""A logging function closes over the list that it fills.

holder: history (closure of make_logger.<locals>.log()
made: values.detach()
"""

import sys

import torch
from torch import nn


def make_model():
    return nn.Sequential(nn.Linear(256, 1024), nn.ReLU(), nn.Linear(1024, 256)).cuda()


def batch():
    return torch.randn(512, 256, device="cuda"), torch.randn(512, 256, device="cuda")


def make_logger(every):
    history = []

    def log(step, values):
        history.append(values.detach().half())
        if step % every == 0:
            print(step, len(history), flush=True)

    return log


def main(steps):
    model = make_model()
    optimizer = torch.optim.Adam(model.parameters())
    log = make_logger(100)
    for step in range(steps):
        x, y = batch()
        out = model(x)
        loss = nn.functional.mse_loss(out, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        log(step, out)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
