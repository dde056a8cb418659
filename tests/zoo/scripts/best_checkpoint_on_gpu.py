"""Every improvement keeps a deepcopy of the state dict in a list of the best, on the device.

pattern: gradual_leak
card: 600MiB
cause: accumulating_tensors
holder: best_models | checkpoints
fix: move_to_cpu | bound_container
proof: --fixed
"""

import copy
import sys

import torch
import torch.nn as nn

model = nn.Sequential(nn.Linear(784, 1024), nn.ReLU(), nn.Linear(1024, 512), nn.ReLU(), nn.Linear(512, 10)).cuda()
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
best_models = []
best_loss = 1e9
for epoch in range(120):
    for _ in range(2):
        x = torch.rand(128, 784, device="cuda")
        y = torch.randint(10, (128,), device="cuda")
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    if 100.0 / (epoch + 1) < best_loss:
        best_loss = 100.0 / (epoch + 1)
        state = model.state_dict()
        if "--fixed" in sys.argv:
            state = {name: value.cpu() for name, value in state.items()}
        best_models.append(copy.deepcopy(state))  # culprit
