"""RL with a ring buffer of fixed size on the device, a target network and n-step returns.

pattern: healthy
card: 1GiB
"""

import copy

import torch
from torch import nn


class Ring:
    def __init__(self, size, dim):
        self.obs = torch.zeros(size, dim, device="cuda")
        self.ret = torch.zeros(size, device="cuda")
        self.at = 0

    def add(self, obs, ret):
        n = len(obs)
        index = torch.arange(self.at, self.at + n, device="cuda") % len(self.obs)
        self.obs[index], self.ret[index] = obs, ret
        self.at += n


policy = nn.Sequential(nn.Linear(64, 256), nn.Tanh(), nn.Linear(256, 1)).cuda()
target = copy.deepcopy(policy).requires_grad_(False)
opt = torch.optim.Adam(policy.parameters())
ring = Ring(4096, 64)
for it in range(60):
    obs = torch.randn(256, 64, device="cuda")
    with torch.no_grad():
        ring.add(obs, target(obs).squeeze(1))
    pick = torch.randint(4096, (512,), device="cuda")
    loss = (policy(ring.obs[pick]).squeeze(1) - ring.ret[pick]).pow(2).mean()
    opt.zero_grad()
    loss.backward()
    opt.step()
    if it % 10 == 0:
        target.load_state_dict(policy.state_dict())
