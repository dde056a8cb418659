"""Validation concatenates its embeddings batch by batch: all = torch.cat([all, new]).

pattern: eval_spike
card: 600MiB
cause: evaluation_accumulates_outputs
holder: embeddings | all_embeddings
fix: move_to_cpu
proof: --fixed
"""

import sys

import torch
from torch import nn

encoder = nn.Sequential(nn.Linear(256, 1024), nn.GELU(), nn.Linear(1024, 2048)).cuda()
optimizer = torch.optim.Adam(encoder.parameters())


def train(steps):
    encoder.train()
    for _ in range(steps):
        x = torch.randn(128, 256, device="cuda")
        z = nn.functional.normalize(encoder(x), dim=1)
        loss = (z @ z.t()).pow(2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


@torch.no_grad()
def embed_all(batches):
    encoder.eval()
    embeddings = torch.empty(0, 2048, device="cpu" if "--fixed" in sys.argv else "cuda")
    for _ in range(batches):
        z = encoder(torch.randn(256, 256, device="cuda"))  # culprit
        embeddings = torch.cat([embeddings, z.to(embeddings.device)])  # culprit
    return embeddings


for epoch in range(2):
    train(6)
    bank = embed_all(100)
    print(bank.shape)
