"""Validation gathers all logits on the device to compute one metric at the end.

pattern: eval_spike
card: 800MiB
cause: evaluation_accumulates_outputs
holder: all_logits | all_preds
fix: move_to_cpu | evaluation_outputs
proof: --fixed
"""

import sys

import torch
from torch import nn

VOCAB = 6000
model = nn.Sequential(nn.Embedding(VOCAB, 64), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, VOCAB)).cuda()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)


@torch.no_grad()
def evaluate(n_batches):
    model.eval()
    all_logits, all_labels = [], []
    for _ in range(n_batches):
        ids = torch.randint(VOCAB, (8, 64), device="cuda")
        logits = model(ids)  # culprit
        all_logits.append(logits.cpu() if "--fixed" in sys.argv else logits)  # culprit
        all_labels.append(ids.cpu())
    model.train()
    hits = sum((p.argmax(-1).cpu() == t).float().mean().item() for p, t in zip(all_logits, all_labels, strict=True))
    return hits / n_batches


for epoch in range(2):
    for _ in range(10):
        ids = torch.randint(VOCAB, (8, 64), device="cuda")
        loss = nn.functional.cross_entropy(model(ids).view(-1, VOCAB), ids.view(-1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(evaluate(80))
