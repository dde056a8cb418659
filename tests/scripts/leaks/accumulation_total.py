"""Four micro-batches for each step of the optimizer; the epoch's loss is summed up with the graph of its penalty.

holder: graph of epoch_loss
made: model(|penalty|pow(|mean(|tanh
"""

import sys

import torch
from torch import nn


def main(steps, micro_batches=4):
    model = nn.Sequential(nn.Linear(100, 400), nn.Tanh(), nn.Linear(400, 1)).cuda()
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    epoch_loss = torch.zeros((), device="cuda")
    for _ in range(steps):
        for _ in range(micro_batches):
            y = model(torch.randn(150, 100, device="cuda"))
            loss = y.pow(2).mean() / micro_batches
            loss.backward(retain_graph=True)
            epoch_loss = epoch_loss + loss
        optimizer.step()
        optimizer.zero_grad()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
