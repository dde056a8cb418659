"""A pairwise distance matrix of all points: no card of this size holds it.

pattern: at_start
card: 1GiB
cause: single_allocation_exceeds_card
fix: none
run: --points 20000
proof: --points 4000
"""

import argparse

import torch

parser = argparse.ArgumentParser()
parser.add_argument("--points", type=int, default=5000)
args = parser.parse_args()
points = torch.randn(args.points, 16, device="cuda")
distances = torch.cdist(points, points)  # culprit
nearest = distances.topk(5, largest=False).indices
embedding = torch.nn.Embedding(args.points, 8).cuda()
optimizer = (
    torch.optim.SparseAdam(embedding.parameters()) if embedding.sparse else torch.optim.Adam(embedding.parameters())
)
for _ in range(3):
    chosen = nearest[torch.randint(args.points, (256,), device="cuda")]
    loss = embedding(chosen).var(1).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
