"""No modules: a weight, a product, and batches that grow with each step until they have their size."""

import sys

import torch


def main(steps):
    weight = torch.randn(128, 128, device="cuda", requires_grad=True)
    optimizer = torch.optim.Adam([weight])
    for step in range(steps):
        x = torch.randn(256 + 64 * min(step, 20), 128, device="cuda")
        y = (x @ weight).tanh()
        y.square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 60)
