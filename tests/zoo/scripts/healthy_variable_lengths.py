"""Batches of many lengths, shuffled; the cache grows in the beginning and then stays.

pattern: healthy
card: 1GiB
"""

import random

import torch
from torch import nn

random.seed(0)
layer = nn.TransformerEncoderLayer(128, 4, 512, batch_first=True)
model = nn.TransformerEncoder(layer, 2).cuda()
opt = torch.optim.Adam(model.parameters())
for _ in range(60):
    x = torch.randn(8, random.randint(16, 200), 128, device="cuda")
    loss = model(x).pow(2).mean()
    opt.zero_grad()
    loss.backward()
    opt.step()
