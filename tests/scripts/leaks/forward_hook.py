"""Forward hooks collect activations for a plot; nobody removes them or empties the lists.

holder: activations['encoder'] (closure of watch.<locals>.make.<locals>.hook()
made: output.detach()
"""

import sys

import torch
from torch import nn


def make_model():
    return nn.Sequential(nn.Linear(256, 1024), nn.ReLU(), nn.Linear(1024, 256)).cuda()


def batch():
    return torch.randn(512, 256, device="cuda"), torch.randn(512, 256, device="cuda")


def watch(net, names):
    activations = {name: [] for name in names}

    def make(name):
        def hook(module, inputs, output):
            activations[name].append(output.detach() * 1.0)

        return hook

    for name in names:
        getattr(net, name).register_forward_hook(make(name))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Linear(256, 1024)
        self.decoder = nn.Linear(1024, 256)

    def forward(self, x):
        return self.decoder(torch.relu(self.encoder(x)))


def main(steps):
    net = Net().cuda()
    watch(net, ["encoder"])
    optimizer = torch.optim.Adam(net.parameters())
    for _ in range(steps):
        x, y = batch()
        loss = nn.functional.mse_loss(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
