"""Frames of a video model's last predictions are kept in a deque whose maxlen somebody forgot.

pattern: gradual_leak
card: 500MiB
cause: accumulating_tensors
holder: history | Tracker.history
fix: bound_container | move_to_cpu
proof: --fixed
"""

import sys
from collections import deque

import torch
from torch import nn


class Tracker:
    def __init__(self):
        self.history = deque(maxlen=8 if "--fixed" in sys.argv else None)

    def __call__(self, frame):
        self.history.append(frame)
        return torch.stack(list(self.history)[-4:]).mean(0)


net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 3, 3, padding=1)).cuda()
optimizer = torch.optim.Adam(net.parameters(), lr=1e-4)
track = Tracker()
for step in range(200):
    frames = torch.rand(8, 3, 128, 128, device="cuda")
    predicted = net(frames)  # culprit
    smooth = track(predicted.detach())  # culprit
    loss = (predicted - frames).pow(2).mean() + (smooth - frames).abs().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
