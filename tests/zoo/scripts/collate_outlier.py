"""Sentences padded to the longest of their batch; one document slipped through the length filter.

pattern: batch_outlier
card: 900MiB
cause: batch_outlier
fix: bound_batch | micro_batch | micro_batch_expandable_segments | activation_checkpointing | expandable_segments
proof: --max-length 256
"""

import argparse
import random

import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader

parser = argparse.ArgumentParser()
parser.add_argument("--max-length", type=int, default=10**6)
args = parser.parse_args()
random.seed(1)
lengths = [random.randint(20, 120) for _ in range(640)]
lengths[477] = 3000
texts = [torch.randint(1, 8000, (min(n, args.max_length),)) for n in lengths]


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(8000, 128, padding_idx=0)
        self.encoder = nn.GRU(128, 128, batch_first=True, bidirectional=True)
        self.mix = nn.Sequential(nn.Linear(256, 1024), nn.GELU(), nn.Linear(1024, 256))
        self.out = nn.Linear(256, 5)

    def forward(self, ids):
        h, _ = self.encoder(self.embed(ids))  # culprit
        return self.out(self.mix(h).mean(1))  # culprit


def collate(batch):
    return pad_sequence(batch, batch_first=True)


model = Classifier().to("cuda")
optimizer = torch.optim.AdamW(model.parameters())
for ids in DataLoader(texts, batch_size=32, collate_fn=collate):
    ids = ids.to("cuda")
    target = torch.randint(5, (len(ids),), device="cuda")
    loss = nn.functional.cross_entropy(model(ids), target)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
