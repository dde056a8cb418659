"""A penalty on gradients (create_graph=True) is summed up for the log with all of its graph.

holder: graph of penalties
made: critic(x|torch.autograd.grad|norm(
"""

import sys

import torch
from torch import nn


def make_model():
    return nn.Sequential(nn.Linear(256, 1024), nn.ReLU(), nn.Linear(1024, 256)).cuda()


def batch():
    return torch.randn(512, 256, device="cuda"), torch.randn(512, 256, device="cuda")


def penalty_of(critic, x):
    x = x.clone().requires_grad_()
    gradient = torch.autograd.grad(critic(x).sum(), x, create_graph=True)[0]
    return (gradient.norm(2, dim=1) - 1).square().mean()


def main(steps):
    critic = nn.Sequential(nn.Linear(256, 512), nn.Tanh(), nn.Linear(512, 1)).cuda()
    optimizer = torch.optim.Adam(critic.parameters())
    penalties = 0.0
    for step in range(steps):
        x, y = batch()
        penalty = penalty_of(critic, x)
        loss = critic(x).mean() - critic(y).mean() + 10 * penalty
        optimizer.zero_grad()
        loss.backward(retain_graph=True)
        optimizer.step()
        penalties += penalty
        if step % 100 == 0:
            print(step, float(penalties), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
