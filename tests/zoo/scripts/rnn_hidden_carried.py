"""A recurrent encoder is frozen in name only: its state is carried on with its graph, while a head is trained on it.

pattern: gradual_leak
card: 500MiB
cause: accumulating_autograd_graph
holder: state
fix: detach | move_to_cpu | bound_container
proof: --fixed
"""

import sys

import torch
from torch import nn


class Encoder(nn.Module):
    def __init__(self, width=512):
        super().__init__()
        self.inp = nn.Linear(32, width)
        self.cell = nn.GRUCell(width, width)

    def forward(self, x, state):
        return self.cell(torch.tanh(self.inp(x)), state)  # culprit


encoder = Encoder().cuda()
head = nn.Linear(512, 4).cuda()
optimizer = torch.optim.Adam(head.parameters(), lr=1e-3)
state = torch.zeros(128, 512, device="cuda")
for step in range(300):
    x = torch.randn(128, 32, device="cuda")
    state = encoder(x, state)  # culprit
    if "--fixed" in sys.argv:
        state = state.detach()
    logits = head(state.detach())
    loss = nn.functional.cross_entropy(logits, torch.randint(4, (128,), device="cuda"))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
