"""The PyTorch profiler watches six steps in the middle, with shapes and memory."""

import sys

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile, schedule


def main(steps):
    model = nn.Sequential(nn.Linear(256, 512), nn.ReLU(), nn.Linear(512, 256)).cuda()
    optimizer = torch.optim.Adam(model.parameters())
    with profile(
        activities=[ProfilerActivity.CPU],
        schedule=schedule(wait=5, warmup=2, active=6, repeat=1),
        record_shapes=True,
        profile_memory=True,
    ) as profiler:
        for _ in range(steps):
            x = torch.randn(256, 256, device="cuda")
            (model(x) - x).square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()
            profiler.step()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 30)
