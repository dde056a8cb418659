"""Two tasks take turns, with heads and batch sizes of their own; a GRU over sorted lengths; bounded logs.

pattern: healthy
card: 1GiB
"""

from collections import deque

import torch
from torch import nn

encoder = nn.GRU(32, 128, batch_first=True).cuda()
heads = nn.ModuleDict({"tag": nn.Linear(128, 12), "sentiment": nn.Linear(128, 2)}).cuda()
opt = torch.optim.Adam([*encoder.parameters(), *heads.parameters()])
recent = deque(maxlen=20)
lengths = sorted(range(10, 130, 2))
for epoch in range(2):
    for i, length in enumerate(lengths):
        task = ("tag", "sentiment")[i % 2]
        x = torch.randn(24 if task == "tag" else 48, length, 32, device="cuda")
        out, last = encoder(x)
        logits = heads[task](out if task == "tag" else last[-1])
        loss = logits.logsumexp(-1).mean()
        opt.zero_grad()
        loss.backward()
        opt.step()
        recent.append(loss.detach())
