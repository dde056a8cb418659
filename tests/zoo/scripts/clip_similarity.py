"""A contrastive loss: the similarity matrix of a batch of 12000 pairs alone is half a gigabyte.

pattern: first_batch
card: 1.5GiB
cause: activations_too_large | single_allocation_exceeds_card
fix: micro_batch | micro_batch_expandable_segments
run: --pairs 12000
proof: --pairs 2000
"""

import argparse

import torch
import torch.nn.functional as F
from torch import nn

parser = argparse.ArgumentParser()
parser.add_argument("--pairs", type=int, default=4096)
opts = parser.parse_args()

image_tower = nn.Sequential(nn.Linear(512, 256), nn.GELU(), nn.Linear(256, 128)).cuda()
text_tower = nn.Sequential(nn.Linear(384, 256), nn.GELU(), nn.Linear(256, 128)).cuda()
scale = nn.Parameter(torch.tensor(2.6, device="cuda"))
params = [*image_tower.parameters(), *text_tower.parameters(), scale]
optimizer = torch.optim.AdamW(params, lr=5e-4)
for step in range(4):
    images = torch.randn(opts.pairs, 512, device="cuda")
    texts = torch.randn(opts.pairs, 384, device="cuda")
    a, b = F.normalize(image_tower(images), dim=-1), F.normalize(text_tower(texts), dim=-1)
    logits = scale.exp() * a @ b.t()  # culprit
    labels = torch.arange(len(logits), device="cuda")
    loss = (F.cross_entropy(logits, labels) + F.cross_entropy(logits.t(), labels)) / 2  # culprit
    loss.backward()  # culprit
    optimizer.step()
    optimizer.zero_grad()
