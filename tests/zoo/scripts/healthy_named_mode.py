"""Modes and moves by keyword, as wrappers call them; a healthy run.

pattern: healthy
card: 1GiB
"""

import torch
from torch import nn

with torch.device("meta"):
    model = nn.Sequential(nn.Linear(256, 512), nn.GELU(), nn.Linear(512, 256))
model = model.to_empty(device="cuda", recurse=True)
for layer in model:
    if hasattr(layer, "reset_parameters"):
        layer.reset_parameters()
optimizer = torch.optim.Adam(model.parameters())
for epoch in range(3):
    for training in (True, False):
        model.train(mode=training)
        with torch.set_grad_enabled(training):
            for _ in range(6):
                x = torch.randn(128, 256, device="cuda")
                loss = nn.functional.mse_loss(model(x), x)
                if training:
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
