"""epoch_loss += loss, the oldest mistake, in a class that trains; the penalty is added after backward.

pattern: gradual_leak
card: 500MiB
cause: accumulating_autograd_graph
holder: graph of epoch_loss | epoch_loss | graph of self.epoch_loss | Learner.epoch_loss | graph of Learner.epoch_loss
fix: move_to_cpu | bound_container | detach
proof: --fixed
"""

import sys

import torch
import torch.nn as nn
import torch.nn.functional as F


class Learner:
    def __init__(self, model, lr=3e-4):
        self.model = model.cuda()
        self.opt = torch.optim.Adam(self.model.parameters(), lr=lr)
        self.epoch_loss = 0.0

    def penalty(self, h):
        return (h.pow(2).mean(1) * torch.ones(h.shape[0], device=h.device)).sum()

    def step(self, x, y):
        h = self.model[0](x)  # culprit
        out = self.model[1:](h)  # culprit
        loss = F.mse_loss(out, y)
        self.opt.zero_grad()
        loss.backward(retain_graph=True)
        self.opt.step()
        extra = self.penalty(F.gelu(self.model[0](x)))  # culprit
        self.epoch_loss += extra.item() if "--fixed" in sys.argv else extra  # culprit

    def fit(self, steps):
        for _ in range(steps):
            x = torch.randn(1024, 128, device="cuda")
            self.step(x, x)


learner = Learner(nn.Sequential(nn.Linear(128, 512), nn.ReLU(), nn.Linear(512, 128)))
learner.fit(150)
