"""The whole data set is put on the device before anything else, because it makes loading fast.

pattern: at_start
card: 800MiB
cause: data_on_card
fix: move_to_cpu
proof: --fixed
"""

import sys

import torch
from torch import nn

device = "cpu" if "--fixed" in sys.argv else "cuda"
shards = []
for _ in range(12):
    shards.append(torch.randint(0, 255, (1000, 3, 80, 80), dtype=torch.uint8).float().div(255).to(device))  # culprit
labels = torch.randint(10, (12_000,), device=device)
model = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.Flatten(), nn.LazyLinear(10)).cuda()
model(torch.zeros(2, 3, 80, 80, device="cuda"))
optimizer = torch.optim.Adam(model.parameters())
for step in range(10):
    pick = torch.randint(1000, (64,))
    x = shards[step % 12][pick.to(device)].cuda()
    y = labels[pick.to(device)].cuda()
    loss = nn.functional.cross_entropy(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
