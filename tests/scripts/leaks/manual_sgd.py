"""Training without torch.optim: the update is written out, and the velocity is kept for every step.

holder: velocities
made: momentum|grad
"""

import sys

import torch

velocities = []
w = torch.randn(512, 512, device="cuda", requires_grad=True)
b = torch.zeros(512, device="cuda", requires_grad=True)
velocity, momentum = torch.zeros_like(w), 0.9
for _ in range(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000):
    x = torch.randn(64, 512, device="cuda")
    loss = ((x @ w + b).relu() - x).square().mean()
    loss.backward()
    with torch.no_grad():
        velocity = momentum * velocity + w.grad
        velocities.append(velocity)
        w -= 1e-3 * velocity
        b -= 1e-3 * b.grad
        w.grad = b.grad = None
