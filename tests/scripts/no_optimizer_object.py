"""Steps by hand, without an optimizer: the program ends before the card is full."""

import torch
from torch import nn

model = nn.Sequential(nn.Linear(384, 768), nn.Tanh(), nn.Linear(768, 384)).cuda()
activity = []
for _ in range(50):
    output = model(torch.randn(600, 384, device="cuda"))
    output.square().mean().backward()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.data -= 0.01 * parameter.grad
            parameter.grad = None
    activity.append(output.detach())
