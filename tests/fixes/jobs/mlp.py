"""A tower of linear layers; plain loop."""

import knobs as k
from torch import nn

o = k.read(width=1024, depth=8, batch_size=4096)
model = k.placed(o, nn.ModuleList([nn.Sequential(nn.Linear(o.width, o.width), nn.GELU()) for _ in range(o.depth)]))
first = k.placed(o, nn.Linear(64, o.width))
opt = k.optimizer(o, [*first.parameters(), *model.parameters()])
for _ in range(o.steps):
    for _ in range(o.accumulation):
        x = k.data(o, o.batch_size, 64)
        with k.autocast(o):
            loss = k.blocks(o, model, first(x)).float().pow(2).mean()
        (loss / o.accumulation).backward()
    opt.step()
    opt.zero_grad()
