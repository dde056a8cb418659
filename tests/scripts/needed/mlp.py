"""An MLP with AdamW, nothing kept."""

import torch
from torch import nn

model = nn.Sequential(
    nn.Linear(784, 1024), nn.ReLU(), nn.Dropout(0.1), nn.Linear(1024, 1024), nn.ReLU(), nn.Linear(1024, 10)
)
model.cuda()
optimizer = torch.optim.AdamW(model.parameters())
criterion = nn.CrossEntropyLoss()
for _ in range(5):
    x = torch.randn(512, 784).cuda()
    y = torch.randint(0, 10, (512,)).cuda()
    loss = criterion(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
