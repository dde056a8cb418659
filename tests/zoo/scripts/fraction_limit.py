"""A service sets a memory fraction, so that two fit on a card, and then trains with a batch too large for its half.

pattern: first_batch
card: 2GiB
cause: memory_limit | activations_too_large
fix: raise_memory_limit | micro_batch | micro_batch_expandable_segments
run: --batch 512
proof: --batch 32
"""

import argparse

import torch
from torch import nn

p = argparse.ArgumentParser()
p.add_argument("--batch", type=int, default=64)
a = p.parse_args()
torch.cuda.set_per_process_memory_fraction(0.4)


class Autoencoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.enc = nn.Sequential(nn.Conv2d(1, 32, 3, 2, 1), nn.ReLU(), nn.Conv2d(32, 64, 3, 2, 1), nn.ReLU())
        self.dec = nn.Sequential(nn.ConvTranspose2d(64, 32, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(32, 1, 4, 2, 1))

    def forward(self, x):
        return self.dec(self.enc(x))  # culprit


model = Autoencoder().cuda()
opt = torch.optim.Adam(model.parameters())
for _ in range(5):
    x = torch.rand(a.batch, 1, 160, 160, device="cuda")
    loss = nn.functional.binary_cross_entropy_with_logits(model(x), x)  # culprit
    opt.zero_grad()
    loss.backward()  # culprit
    opt.step()
