"""A wide MLP on tabular data: weights and gradients fit, Adam's two states do not.

pattern: first_batch
card: 900MiB
cause: optimizer_state_birth | model_states_too_large
fix: smaller_optimizer_state | shard_states | offload_optimizer | train_adapters | fused_optimizer | bf16_states
proof: --optimizer sgd
"""

import argparse

import torch
from torch import nn

parser = argparse.ArgumentParser()
parser.add_argument("--optimizer", default="adam")
args = parser.parse_args()

width = 3000
model = nn.Sequential(
    nn.Linear(200, width), nn.ReLU(),
    nn.Linear(width, width), nn.ReLU(),
    nn.Linear(width, width), nn.ReLU(),
    nn.Linear(width, width), nn.ReLU(),
    nn.Linear(width, width), nn.ReLU(),
    nn.Linear(width, width), nn.ReLU(),
    nn.Linear(width, 1),
)  # fmt: skip
model.to("cuda")
if args.optimizer == "adam":
    opt = torch.optim.Adam(model.parameters(), lr=1e-3)
else:
    opt = torch.optim.SGD(model.parameters(), lr=1e-2)
for epoch in range(5):
    features, price = torch.randn(64, 200, device="cuda"), torch.randn(64, 1, device="cuda")
    loss = (model(features) - price).abs().mean()
    opt.zero_grad()
    loss.backward()
    opt.step()  # culprit
