"""A GAN; the generated images of each step are kept for a grid, on the device and with their graph.

pattern: gradual_leak
card: 600MiB
cause: accumulating_autograd_graph | accumulating_tensors
holder: fake_images | img_list
fix: move_to_cpu | bound_container | detach
proof: --fixed
"""

import sys

import torch
import torch.nn as nn

nz, ngf = 64, 32
netG = nn.Sequential(
    nn.ConvTranspose2d(nz, ngf * 4, 4, 1, 0, bias=False), nn.BatchNorm2d(ngf * 4), nn.ReLU(True),
    nn.ConvTranspose2d(ngf * 4, ngf * 2, 4, 2, 1, bias=False), nn.BatchNorm2d(ngf * 2), nn.ReLU(True),
    nn.ConvTranspose2d(ngf * 2, 3, 4, 2, 1, bias=False), nn.Tanh(),
).cuda()  # fmt: skip
netD = nn.Sequential(
    nn.Conv2d(3, 32, 4, 2, 1), nn.LeakyReLU(0.2), nn.Conv2d(32, 64, 4, 2, 1), nn.LeakyReLU(0.2),
    nn.Flatten(), nn.Linear(1024, 1),
).cuda()  # fmt: skip
optD = torch.optim.Adam(netD.parameters(), lr=2e-4, betas=(0.5, 0.999))
optG = torch.optim.Adam(netG.parameters(), lr=2e-4, betas=(0.5, 0.999))
bce = nn.BCEWithLogitsLoss()
img_list = []
for i in range(150):
    real = torch.randn(64, 3, 16, 16, device="cuda")
    noise = torch.randn(64, nz, 1, 1, device="cuda")
    netD.zero_grad()
    fake = netG(noise)  # culprit
    errD = bce(netD(real), torch.ones(64, 1, device="cuda")) + bce(netD(fake.detach()), torch.zeros(64, 1).cuda())
    errD.backward()
    optD.step()
    netG.zero_grad()
    errG = bce(netD(fake), torch.ones(64, 1, device="cuda"))
    errG.backward()
    optG.step()
    sample = netG(noise)  # culprit
    img_list.append(sample.detach().cpu() if "--fixed" in sys.argv else sample)  # culprit
