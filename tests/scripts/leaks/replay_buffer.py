"""A replay buffer of dataclasses with slots, on the GPU, whose capacity is never enforced.

holder: ReplayBuffer.transitions
made: observe()|batch()|torch.randn
"""

import random
import sys
from dataclasses import dataclass

import torch
from torch import nn


def make_model():
    return nn.Sequential(nn.Linear(256, 1024), nn.ReLU(), nn.Linear(1024, 256)).cuda()


def batch():
    return torch.randn(512, 256, device="cuda"), torch.randn(512, 256, device="cuda")


@dataclass(slots=True)
class Transition:
    state: torch.Tensor
    reward: float


class ReplayBuffer:
    def __init__(self, capacity):
        self.capacity = capacity
        self.transitions = []

    def push(self, state, reward):
        self.transitions.append(Transition(state, reward))

    def sample(self):
        return random.choice(self.transitions)


def main(steps):
    model = make_model()
    optimizer = torch.optim.Adam(model.parameters())
    buffer = ReplayBuffer(100)
    for _ in range(steps):
        state, target = batch()
        buffer.push(state, 1.0)
        loss = nn.functional.mse_loss(model(buffer.sample().state), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
