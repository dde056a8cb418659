"""Episodes in a dictionary without a limit; the batch in work is drawn from it and bound to names of its own.

holder: memory
made: torch.randn
"""

import random
import sys
from collections import namedtuple

import torch
from torch import nn

Episode = namedtuple("Episode", "frames reward")


def main(steps):
    policy = nn.Sequential(nn.Linear(300, 64), nn.ReLU(), nn.Linear(64, 4)).cuda()
    optimizer = torch.optim.Adam(policy.parameters())
    memory = {}
    for step in range(steps):
        for number in range(4):
            memory[step, number] = Episode(torch.randn(400, 300, device="cuda"), 1.0)
        drawn = random.choices(list(memory.values()), k=24)
        frames = torch.stack([episode.frames[0] for episode in drawn])
        optimizer.zero_grad()
        policy(frames).max(1).values.mean().backward()
        optimizer.step()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
