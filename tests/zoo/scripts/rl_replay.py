"""DQN-like: transitions go into a replay buffer on the device, and the buffer has no limit that fits the card.

pattern: gradual_leak
card: 400MiB
cause: accumulating_tensors
holder: ReplayBuffer.storage | buffer.storage | memory | ReplayBuffer.memory
fix: bound_container | move_to_cpu
proof: --capacity 20
"""

import argparse
import random
from collections import deque

import torch
import torch.nn.functional as F
from torch import nn

parser = argparse.ArgumentParser()
parser.add_argument("--capacity", type=int, default=100_000)
args = parser.parse_args()
device = "cuda"


class ReplayBuffer:
    def __init__(self, capacity):
        self.storage = deque(maxlen=capacity)

    def push(self, *transition):
        self.storage.append(transition)

    def sample(self, n):
        return [torch.cat(column) for column in zip(*random.sample(self.storage, n))]  # noqa: B905


class QNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(4, 16, 8, 4), nn.ReLU(), nn.Conv2d(16, 32, 4, 2), nn.ReLU(), nn.Flatten())
        self.head = nn.Linear(2592, 6)

    def forward(self, x):
        return self.head(self.conv(x))


q, target = QNet().to(device), QNet().to(device)
target.load_state_dict(q.state_dict())
optimizer = torch.optim.Adam(q.parameters(), lr=1e-4)
buffer = ReplayBuffer(args.capacity)
state = torch.zeros(4, 4, 84, 84, device=device)
for frame in range(400):
    with torch.no_grad():
        action = q(state).argmax(1)
    next_state = torch.rand(4, 4, 84, 84, device=device)  # culprit
    reward = torch.rand(4, device=device)
    buffer.push(state, action, reward, next_state)  # culprit
    state = next_state
    if frame >= 16:
        s, a, r, s2 = buffer.sample(8)
        with torch.no_grad():
            y = r + 0.99 * target(s2).max(1).values
        loss = F.smooth_l1_loss(q(s).gather(1, a[:, None]).squeeze(1), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    if frame % 50 == 0:
        target.load_state_dict(q.state_dict())
