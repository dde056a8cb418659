"""An AUROC metric that stores predictions and targets of training batches, computed at the end of a long epoch.

pattern: gradual_leak
card: 400MiB
cause: accumulating_tensors
holder: AUROC.preds | auroc.preds | AUROC.target | BinaryAUROC.preds
fix: bound_container | move_to_cpu
proof: --fixed
"""

import sys

import torch
from torch import nn


class Metric(nn.Module):
    def __init__(self, compute_on_cpu=False):
        super().__init__()
        self.compute_on_cpu = compute_on_cpu
        self._states = {}

    def add_state(self, name):
        self._states[name] = []
        setattr(self, name, [])

    def forward(self, *args):
        self.update(*args)
        if self.compute_on_cpu:
            for name in self._states:
                setattr(self, name, [v.cpu() for v in getattr(self, name)])


class BinaryAUROC(Metric):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.add_state("preds")
        self.add_state("target")

    def update(self, preds, target):
        self.preds.append(preds.detach().sigmoid())  # culprit
        self.target.append(target)


auroc = BinaryAUROC(compute_on_cpu="--fixed" in sys.argv)
net = nn.Sequential(nn.Linear(40, 256), nn.ReLU(), nn.Linear(256, 400)).cuda()
opt = torch.optim.Adam(net.parameters())
for i in range(150):
    x = torch.randn(1000, 40, device="cuda")
    target = torch.randint(2, (1000, 400), device="cuda").float()  # culprit
    logits = net(x)
    loss = nn.functional.binary_cross_entropy_with_logits(logits, target)
    opt.zero_grad()
    loss.backward()
    opt.step()
    auroc(logits, target)
