"""Reinforcement learning: a replay buffer of 40 transitions fills, then drops the oldest."""

import collections
import random
import sys

import torch
from torch import nn

Transition = collections.namedtuple("Transition", "state action reward following")


def main(steps):
    rng = random.Random(0)
    policy, target = nn.Linear(1024, 4).cuda(), nn.Linear(1024, 4).cuda()
    optimizer = torch.optim.RMSprop(policy.parameters())
    memory = collections.deque(maxlen=40)
    state = torch.randn(128, 1024, device="cuda")
    for step in range(steps):
        with torch.no_grad():
            action = policy(state).argmax(1)
        following = torch.randn(128, 1024, device="cuda")
        memory.append(Transition(state, action, torch.randn(128, device="cuda"), following))
        state = following
        for _ in range(2):
            sample = rng.choice(memory)
            value = policy(sample.state).gather(1, sample.action[:, None]).squeeze(1)
            best = target(sample.following).max(1).values.detach()
            nn.functional.smooth_l1_loss(value, sample.reward + 0.9 * best).backward()
        optimizer.step()
        optimizer.zero_grad()
        if step % 10 == 0:
            target.load_state_dict(policy.state_dict())


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 70)
