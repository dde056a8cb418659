"""MoCo-like: the bank of keys is concatenated and never cut to its length.

pattern: gradual_leak
card: 500MiB
cause: accumulating_tensors
holder: MoCo.queue | self.queue | moco.queue
fix: bound_container | bound_queue | move_to_cpu
proof: --fixed
"""

import copy
import sys

import torch
import torch.nn.functional as F
from torch import nn


class MoCo(nn.Module):
    def __init__(self, dim=256, K=4096):
        super().__init__()
        self.K = K
        self.encoder_q = nn.Sequential(nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, dim))
        self.encoder_k = copy.deepcopy(self.encoder_q).requires_grad_(False)
        self.queue = None

    def forward(self, im_q, im_k):
        q = F.normalize(self.encoder_q(im_q), dim=1)
        with torch.no_grad():
            for a, b in zip(self.encoder_q.parameters(), self.encoder_k.parameters(), strict=True):
                b.data.mul_(0.999).add_(a.data, alpha=0.001)
            k = F.normalize(self.encoder_k(im_k), dim=1)
        negatives = k if self.queue is None else self.queue[-self.K :]
        logits = torch.cat([(q * k).sum(1, keepdim=True), q @ negatives.t()], 1) / 0.07
        self.queue = k if self.queue is None else torch.cat([self.queue, k])  # culprit
        if "--fixed" in sys.argv:
            self.queue = self.queue[-self.K :].clone()
        return logits


moco = MoCo().cuda()
optimizer = torch.optim.SGD([p for p in moco.parameters() if p.requires_grad], lr=0.03)
for step in range(400):
    x = torch.randn(512, 512, device="cuda")
    logits = moco(x, x.flip(0))
    loss = F.cross_entropy(logits, torch.zeros(len(x), dtype=torch.long, device="cuda"))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
