"""A GAN with two optimizers and a gradient penalty; images of a fixed noise go to the host now and then.

pattern: healthy
card: 1GiB
"""

import torch
from torch import nn

G = nn.Sequential(nn.Linear(32, 256), nn.ReLU(), nn.Linear(256, 784), nn.Tanh()).cuda()
D = nn.Sequential(nn.Linear(784, 256), nn.LeakyReLU(0.2), nn.Linear(256, 1)).cuda()
opt_g = torch.optim.Adam(G.parameters(), lr=1e-4)
opt_d = torch.optim.Adam(D.parameters(), lr=1e-4)
fixed, grids = torch.randn(64, 32, device="cuda"), []
for it in range(40):
    real = torch.randn(128, 784, device="cuda")
    fake = G(torch.randn(128, 32, device="cuda")).detach()
    mix = (real + fake).div(2).requires_grad_(True)
    (grad,) = torch.autograd.grad(D(mix).sum(), mix, create_graph=True)
    d_loss = D(fake).mean() - D(real).mean() + 10 * (grad.norm(dim=1) - 1).pow(2).mean()
    opt_d.zero_grad()
    d_loss.backward()
    opt_d.step()
    g_loss = -D(G(torch.randn(128, 32, device="cuda"))).mean()
    opt_g.zero_grad()
    g_loss.backward()
    opt_g.step()
    if it % 10 == 0:
        with torch.no_grad():
            grids.append(G(fixed).cpu())
