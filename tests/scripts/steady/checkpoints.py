"""Saves a checkpoint every ten steps, and keeps the best three in memory on the host."""

import io
import sys

import torch
from torch import nn


def main(steps):
    model = nn.Sequential(nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 512)).cuda()
    optimizer = torch.optim.AdamW(model.parameters())
    best = []
    for step in range(steps):
        x = torch.randn(128, 512, device="cuda")
        loss = (model(x) - x).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if step % 10 == 9:
            file = io.BytesIO()
            torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, file)
            weights = {name: value.cpu() for name, value in model.state_dict().items()}
            best = [*best, (loss.item(), weights)][-3:]


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 60)
