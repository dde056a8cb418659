"""A validation loss for each step is collected for a plot, with its graph.

pattern: gradual_leak
card: 600MiB
cause: accumulating_autograd_graph
holder: val_losses
fix: move_to_cpu | bound_container | detach
proof: --fixed
"""

import sys

import torch
from torch import nn

net = nn.Sequential(
    nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(),
    nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(256, 10),
).to("cuda")  # fmt: skip
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
val_losses = []
for i in range(150):
    inputs = torch.rand(32, 3, 32, 32, device="cuda")
    labels = torch.randint(0, 10, (32,), device="cuda")
    optimizer.zero_grad()
    outputs = net(inputs)
    loss = criterion(outputs, labels)
    loss.backward()
    optimizer.step()
    val_loss = criterion(net(inputs.flip(3)), labels)  # culprit
    val_losses.append(val_loss.item() if "--fixed" in sys.argv else val_loss)  # culprit
print(len(val_losses))
