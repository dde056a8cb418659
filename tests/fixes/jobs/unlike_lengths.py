"""A sequence model whose batches are of unlike lengths: the longest comes late."""

import knobs as k
import torch
from torch import nn

o = k.read(width=256, batch_size=64, depth=3)
words, head = nn.Embedding(2000, o.width).cuda(), nn.Linear(o.width, 2000).cuda()
layers = [nn.TransformerEncoderLayer(o.width, 4, 4 * o.width, batch_first=True) for _ in range(o.depth)]
model = nn.Sequential(*layers).cuda()
optimizer = k.optimizer(o, [*words.parameters(), *model.parameters(), *head.parameters()])
for length in (117, 80, 140, 60, 200):
    for _ in range(o.accumulation):
        ids = torch.randint(0, 2000, (o.batch_size, length)).cuda()
        loss = nn.functional.cross_entropy(head(model(words(ids))).flatten(0, 1), ids.flatten())
        (loss / o.accumulation).backward()
    optimizer.step()
    optimizer.zero_grad()
