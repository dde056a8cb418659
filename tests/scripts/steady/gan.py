"""A GAN with two optimizers, an averaged generator, and a fixed grid of samples every ten steps."""

import copy
import sys

import torch
from torch import nn
from torch.nn import functional as F


def main(steps):
    G = nn.Sequential(nn.Linear(32, 256), nn.ReLU(), nn.Linear(256, 784), nn.Tanh()).cuda()
    D = nn.Sequential(nn.Linear(784, 128), nn.LeakyReLU(0.2), nn.Linear(128, 1)).cuda()
    averaged = copy.deepcopy(G).requires_grad_(False)
    opt_g, opt_d = torch.optim.Adam(G.parameters()), torch.optim.Adam(D.parameters())
    noise, grid = torch.randn(256, 32, device="cuda"), None
    for step in range(steps):
        real = torch.rand(256, 784, device="cuda")
        fake = G(torch.randn(256, 32, device="cuda"))
        opt_d.zero_grad()
        (F.softplus(-D(real)).mean() + F.softplus(D(fake.detach())).mean()).backward()
        opt_d.step()
        opt_g.zero_grad()
        F.softplus(-D(fake)).mean().backward()
        opt_g.step()
        with torch.no_grad():
            for old, new in zip(averaged.parameters(), G.parameters(), strict=True):
                old.lerp_(new, 0.01)
            if step % 10 == 0:
                grid = averaged(noise)
    return grid


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 60)
