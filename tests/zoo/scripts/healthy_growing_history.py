"""Loss tensors are detached and kept for a mean over an epoch, then dropped; small things come and go.

pattern: healthy
card: 800MiB
"""

import torch
from torch import nn

net = nn.Sequential(nn.Linear(100, 300), nn.ReLU(), nn.Linear(300, 10)).cuda()
opt = torch.optim.SGD(net.parameters(), lr=0.1)
log = []
for epoch in range(4):
    losses, correct = [], torch.zeros((), device="cuda")
    for _ in range(25):
        x, y = torch.randn(64, 100, device="cuda"), torch.randint(10, (64,), device="cuda")
        out = net(x)
        loss = nn.functional.cross_entropy(out, y)
        opt.zero_grad()
        loss.backward()
        opt.step()
        losses.append(loss.detach())
        correct += (out.detach().argmax(1) == y).sum()
    log.append((torch.stack(losses).mean().item(), correct.item() / 1600))
print(log[-1])
