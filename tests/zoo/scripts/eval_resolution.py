"""Training on crops, validation on whole images: the same batch, but nine times as many pixels.

pattern: eval_spike
card: 800MiB
cause: activations_too_large | evaluation_batch_larger
fix: evaluation_batch
proof: --val-batch=2
"""

import sys

import torch
from torch import nn

val_batch = int(sys.argv[1].split("=")[1]) if len(sys.argv) > 1 else 16


class Segmenter(nn.Module):
    def __init__(self):
        super().__init__()
        self.down = nn.Sequential(nn.Conv2d(3, 32, 3, 1, 1), nn.ReLU(), nn.Conv2d(32, 32, 3, 1, 1), nn.ReLU())
        self.head = nn.Conv2d(32, 21, 1)

    def forward(self, x):
        return self.head(self.down(x))  # culprit


model = Segmenter().cuda()
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
for epoch in range(2):
    model.train()
    for _ in range(6):
        x = torch.randn(16, 3, 96, 96, device="cuda")
        y = torch.randint(21, (16, 96, 96), device="cuda")
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.inference_mode():
        for _ in range(3):
            x = torch.randn(val_batch, 3, 384, 384, device="cuda")
            prediction = model(x).argmax(1)  # culprit
