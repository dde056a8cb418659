"""Skip connections: what the first layers make is read again by the last ones."""

import knobs as k
import torch
from torch import nn


def pair(a, b):
    return nn.Sequential(nn.Conv2d(a, b, 3, padding=1), nn.GroupNorm(4, b), nn.SiLU())


class UNet(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.down1, self.down2, self.middle = pair(3, c), pair(c, 2 * c), pair(2 * c, 4 * c)
        self.up2, self.up1 = pair(6 * c, 2 * c), pair(3 * c, c)
        self.shrink, self.grow = nn.MaxPool2d(2), nn.Upsample(scale_factor=2)
        self.out = nn.Conv2d(c, 3, 1)

    def forward(self, x):
        a = self.down1(x)
        b = self.down2(self.shrink(a))
        m = self.middle(self.shrink(b))
        b = self.up2(torch.cat([self.grow(m), b], 1))
        return self.out(self.up1(torch.cat([self.grow(b), a], 1)))


o = k.read(width=32, batch_size=32)
net = k.placed(o, UNet(o.width))
opt = k.optimizer(o, net.parameters())
for _ in range(o.steps):
    for _ in range(o.accumulation):
        clean = k.data(o, o.batch_size, 3, 64, 64)
        noise = torch.randn_like(clean)
        (nn.functional.mse_loss(net(clean + noise), noise) / o.accumulation).backward()
    opt.step()
    opt.zero_grad(set_to_none=True)
