"""A GAN that keeps its generated samples for a grid at the end; two optimizers step in each iteration.

holder: GAN.samples|gan.samples
made: self.G(
"""

import sys

import torch
from torch import nn
from torch.nn import functional as F


class GAN:
    def __init__(self):
        self.G = nn.Sequential(nn.Linear(32, 256), nn.ReLU(), nn.Linear(256, 784), nn.Tanh()).cuda()
        self.D = nn.Sequential(nn.Linear(784, 128), nn.LeakyReLU(0.2), nn.Linear(128, 1)).cuda()
        self.opt_g = torch.optim.Adam(self.G.parameters(), lr=2e-4)
        self.opt_d = torch.optim.Adam(self.D.parameters(), lr=2e-4)
        self.samples = []

    def step(self, real):
        ones, zeros = torch.ones(len(real), 1, device="cuda"), torch.zeros(len(real), 1, device="cuda")
        fake = self.G(torch.randn(len(real), 32, device="cuda"))
        self.opt_d.zero_grad()
        d_loss = F.binary_cross_entropy_with_logits(self.D(real), ones)
        d_loss = d_loss + F.binary_cross_entropy_with_logits(self.D(fake.detach()), zeros)
        d_loss.backward()
        self.opt_d.step()
        self.opt_g.zero_grad()
        F.binary_cross_entropy_with_logits(self.D(fake), ones).backward()
        self.opt_g.step()
        self.samples.append(fake.data)


def main(steps):
    gan = GAN()
    for _ in range(steps):
        gan.step(torch.rand(400, 784, device="cuda"))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
