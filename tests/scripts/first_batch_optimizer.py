"""Forward and backward of the first step fit; Adam's two moments, born in its first step, do not."""

import torch
from torch import nn

WIDTH = 3072


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(10))

    def forward(self, x):
        for block in self.blocks:
            x = torch.tanh(block(x))
        return x


def train():
    net = Net().cuda()
    optimizer = torch.optim.Adam(net.parameters())
    for epoch in range(3):
        for _ in range(4):
            batch = torch.rand(16, WIDTH).cuda()
            loss = net(batch).pow(2).mean()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        print("epoch", epoch, "loss", float(loss))


train()
