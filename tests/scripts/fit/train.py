"""A training as somebody writes it: width, batch and accumulation are flags, and it goes on until it is stopped."""

import argparse
import itertools

import torch
from torch import nn

parser = argparse.ArgumentParser()
parser.add_argument("--batch", type=int, default=8)
parser.add_argument("--accumulation", type=int, default=1)
parser.add_argument("--eval-every", type=int, default=0)
parser.add_argument("--eval-batch", type=int, default=8)
arguments = parser.parse_args()

model = nn.Sequential(*[layer for _ in range(4) for layer in (nn.Linear(1024, 1024), nn.GELU())]).cuda()
optimizer = torch.optim.AdamW(model.parameters())
for step in itertools.count(1):
    for _ in range(arguments.accumulation):
        model(torch.randn(1024 * arguments.batch, 1024, device="cuda")).square().mean().backward()
    optimizer.step()
    optimizer.zero_grad()
    if arguments.eval_every and step % arguments.eval_every == 0:
        model.eval()
        with torch.no_grad():
            model(torch.randn(1024 * arguments.eval_batch, 1024, device="cuda"))
        model.train()
