"""The first step passes; with Adam's state in memory the second forward and backward do not.

pattern: first_batch
card: 770MiB
cause: optimizer_state_birth | activations_too_large | fragmentation | model_states_too_large
fix: fused_optimizer | micro_batch | micro_batch_expandable_segments | expandable_segments | smaller_optimizer_state
proof: --bs 256
"""

import argparse

import torch
import torch.nn as nn

ap = argparse.ArgumentParser()
ap.add_argument("--bs", type=int, default=2048)
args = ap.parse_args()


class MLP(nn.Module):
    def __init__(self, d=2048, layers=6):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(d, d) for _ in range(layers))

    def forward(self, x):
        for layer in self.layers:
            x = torch.relu(layer(x))  # culprit
        return x


model = MLP().cuda()
optimizer = torch.optim.Adam(model.parameters())
for step in range(4):
    x = torch.randn(args.bs, 2048, device="cuda")
    y = model(x)
    loss = nn.functional.mse_loss(y, x)  # culprit
    loss.backward()  # culprit
    optimizer.step()  # culprit
    optimizer.zero_grad()
