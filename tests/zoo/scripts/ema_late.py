"""An exponential moving average of the weights is begun after the warm-up, by deepcopy on the device.

pattern: late_allocation
card: 1000MiB
cause: late_allocation
fix: late_allocation | off_device | move_to_cpu | micro_batch | expandable_segments | allocate_early
proof: --fixed
"""

import copy
import sys

import torch
from torch import nn

dim = 2048


def build():
    return nn.Sequential(*[m for _ in range(8) for m in (nn.Linear(dim, dim), nn.SiLU())])


@torch.no_grad()
def update(ema, model, decay=0.999):
    for e, p in zip(ema.parameters(), model.parameters(), strict=True):
        e.lerp_(p.to(e.device), 1 - decay)


model = build().cuda()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
ema = None
for step in range(30):
    x = torch.randn(128, dim, device="cuda")
    loss = nn.functional.mse_loss(model(x), x)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    if step == 15:
        shadows = []
        for _ in range(3):  # slow, middle and fast average
            source = copy.deepcopy(model).cpu() if "--fixed" in sys.argv else copy.deepcopy(model)  # culprit
            shadows.append(source)
    if step >= 15:
        for shadow in shadows:
            update(shadow, model)
