"""A soft prompt for each new task is added to the optimizer; those of finished tasks stay in it, with their state.

holder: Adam.param_groups|optimizer.param_groups|Adam.state|optimizer
made: torch.zeros|optimizer.step
"""

import sys

import torch
from torch import nn


def main(tasks):
    backbone = nn.Linear(768, 100).cuda().requires_grad_(False)
    prompt = nn.Parameter(torch.zeros(50, 768, device="cuda"))
    optimizer = torch.optim.Adam([prompt])
    for _ in range(tasks):
        prompt = nn.Parameter(torch.zeros(200, 768, device="cuda"))
        optimizer.add_param_group({"params": [prompt]})
        backbone(prompt).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
