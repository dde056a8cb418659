"""Gradient accumulation under autocast with a scaler; the loss is summed up detached and reset after each step."""

import sys

import torch
from torch import nn


def main(steps):
    model = nn.Sequential(nn.Linear(256, 1024), nn.ReLU(), nn.Linear(1024, 256)).cuda()
    optimizer = torch.optim.AdamW(model.parameters())
    scaler = torch.amp.GradScaler("cuda")
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 100)
    for _ in range(steps):
        total = torch.zeros((), device="cuda")
        for _ in range(4):
            x = torch.randn(256, 256, device="cuda")
            with torch.autocast("cuda", dtype=torch.float16):
                loss = (model(x) - x).square().mean() / 4
            scaler.scale(loss).backward()
            total += loss.detach()
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
        scheduler.step()
        optimizer.zero_grad()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 30)
