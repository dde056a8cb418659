"""A detector gets one panorama among its images; everything else has the usual size.

pattern: batch_outlier
card: 900MiB
cause: batch_outlier
fix: bound_batch | micro_batch | micro_batch_expandable_segments | activation_checkpointing
proof: --max-side 320
"""

import argparse

import torch
from torch import nn

ap = argparse.ArgumentParser()
ap.add_argument("--max-side", type=int, default=10_000)
args = ap.parse_args()
backbone = nn.Sequential(
    nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU(),
    nn.Conv2d(16, 32, 3, 1, 1), nn.BatchNorm2d(32), nn.ReLU(),
    nn.Conv2d(32, 64, 3, 2, 1), nn.BatchNorm2d(64), nn.ReLU(),
).cuda()  # fmt: skip
boxes = nn.Conv2d(64, 4, 1).cuda()
optimizer = torch.optim.SGD([*backbone.parameters(), *boxes.parameters()], lr=0.01)
sizes = [(256, 320), (320, 256), (288, 320)] * 4 + [(1200, 3000)] + [(256, 320)] * 3
for height, width in sizes:
    height, width = min(height, args.max_side), min(width, args.max_side)
    images = torch.rand(2, 3, height, width, device="cuda")
    features = backbone(images)  # culprit
    loss = boxes(features).abs().mean()  # culprit
    optimizer.zero_grad()
    loss.backward()  # culprit
    optimizer.step()
