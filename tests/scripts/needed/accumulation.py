"""Four micro-batches a step under autocast, with a gradient scaler."""

import torch
from torch import nn

model = nn.Sequential(nn.Linear(512, 2048), nn.GELU(), nn.LayerNorm(2048), nn.Linear(2048, 512)).cuda()
optimizer = torch.optim.Adam(model.parameters())
scaler = torch.amp.GradScaler("cuda")
for _ in range(4):
    for _ in range(4):
        x = torch.randn(256, 512, device="cuda")
        with torch.autocast("cuda", dtype=torch.float16):
            loss = (model(x) - x).square().mean() / 4
        scaler.scale(loss).backward()
    scaler.step(optimizer)
    scaler.update()
    optimizer.zero_grad(set_to_none=True)
