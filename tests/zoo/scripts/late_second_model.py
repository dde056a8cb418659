"""After two epochs a perceptual loss is switched on, and its network is loaded onto the device then.

pattern: late_allocation
card: 800MiB
cause: late_allocation
fix: off_device | late_allocation | micro_batch | micro_batch_expandable_segments | smaller_optimizer_state | expandable_segments
proof: --fixed
"""  # noqa: E501

import sys

import torch
import torchvision
from torch import nn

net = nn.Sequential(
    nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(),
    nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(),
    nn.Conv2d(32, 3, 3, padding=1),
).cuda()  # fmt: skip
opt = torch.optim.Adam(net.parameters(), lr=1e-4)
perceptual = None
for epoch in range(4):
    if epoch == 2:
        perceptual = torchvision.models.vgg11(num_classes=10)
        if "--fixed" in sys.argv:
            perceptual = perceptual.features
        perceptual = perceptual.cuda().eval().requires_grad_(False)  # culprit
    for _ in range(5):
        x = torch.rand(8, 3, 96, 96, device="cuda")
        y = net(x)
        loss = (y - x).pow(2).mean()
        if perceptual is not None:
            features = perceptual if "--fixed" in sys.argv else perceptual.features
            loss = loss + (features(y) - features(x)).pow(2).mean()
        opt.zero_grad()
        loss.backward()
        opt.step()
