"""Training with validation under no_grad, metrics as numbers, the best weights copied to the host each time.

pattern: healthy
card: 1GiB
"""

import copy

import torch
from torch import nn

model = nn.Sequential(nn.Linear(64, 512), nn.ReLU(), nn.Dropout(0.1), nn.Linear(512, 10)).cuda()
opt = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
best, best_state, history = float("inf"), None, []
for epoch in range(12):
    model.train()
    for _ in range(8):
        x, y = torch.randn(256, 64, device="cuda"), torch.randint(10, (256,), device="cuda")
        loss = nn.functional.cross_entropy(model(x), y)
        opt.zero_grad()
        loss.backward()
        opt.step()
        history.append(loss.item())
    model.eval()
    with torch.no_grad():
        total = 0.0
        for _ in range(4):
            x, y = torch.randn(512, 64, device="cuda"), torch.randint(10, (512,), device="cuda")
            total += nn.functional.cross_entropy(model(x), y).item()
    if total <= best:
        best = total
        best_state = {k: v.detach().cpu().clone() for k, v in copy.copy(model.state_dict()).items()}
