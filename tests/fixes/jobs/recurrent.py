"""An LSTM over sequences, then a head over each position."""

import knobs as k
import torch
from torch import nn


class Tagger(nn.Module):
    def __init__(self, o):
        super().__init__()
        self.embed = nn.Embedding(1000, o.width)
        self.lstm = nn.LSTM(o.width, o.width, o.depth, batch_first=True)
        self.tag = nn.Linear(o.width, 50)

    def forward(self, ids):
        return self.tag(self.lstm(self.embed(ids))[0])


o = k.read(width=256, depth=2, batch_size=64, length=128)
tagger = Tagger(o).to("cuda")
opt = k.optimizer(o, tagger.parameters())
for _ in range(o.steps):
    for _ in range(o.accumulation):
        ids = torch.randint(1000, (o.batch_size, o.length)).to("cuda")
        tags = torch.randint(50, (o.batch_size, o.length)).to("cuda")
        nn.functional.cross_entropy(tagger(ids).flatten(0, 1), tags.flatten()).backward()
    opt.step()
    opt.zero_grad()
