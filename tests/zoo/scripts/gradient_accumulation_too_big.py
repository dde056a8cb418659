"""Accumulation is on, but the micro-batch itself does not fit, whatever the number of steps.

pattern: first_batch
card: 1GiB
cause: activations_too_large | attention_scores_too_large
fix: micro_batch | micro_batch_expandable_segments | activation_checkpointing
run: --batch_size 32 --gradient_accumulation_steps 2
proof: --batch_size 4 --gradient_accumulation_steps 16
"""

import argparse

import torch
from torch import nn

parser = argparse.ArgumentParser()
parser.add_argument("--batch_size", type=int, default=8)
parser.add_argument("--gradient_accumulation_steps", type=int, default=1)
args = parser.parse_args()


class Encoder(nn.Module):
    def __init__(self, d=256, layers=4):
        super().__init__()
        self.layers = nn.ModuleList(nn.TransformerEncoderLayer(d, 4, 4 * d, batch_first=True) for _ in range(layers))

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)  # culprit
        return x


model = Encoder().cuda()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
for step in range(3):
    for micro in range(args.gradient_accumulation_steps):
        x = torch.randn(args.batch_size, 512, 256, device="cuda")
        loss = model(x).pow(2).mean() / args.gradient_accumulation_steps  # culprit
        loss.backward()  # culprit
    optimizer.step()
    optimizer.zero_grad()
