"""As Lightning does it: a sanity check of the validation before the first epoch, with a batch that does not fit.

pattern: at_start
card: 700MiB
cause: single_allocation_exceeds_card | activations_too_large | evaluation_batch_larger
fix: evaluation_batch | micro_batch | micro_batch_expandable_segments
proof: --val_bs=64
"""

import sys

import torch
from torch import nn

val_bs = int(sys.argv[1].split("=")[1]) if len(sys.argv) > 1 else 1024


class LitModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(),
            nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10),
        )  # fmt: skip

    def training_step(self, batch):
        x, y = batch
        return nn.functional.cross_entropy(self.net(x), y)

    def validation_step(self, batch):
        x, y = batch
        return nn.functional.cross_entropy(self.net(x), y).item()  # culprit

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=1e-3)


class Trainer:
    def __init__(self, max_epochs, num_sanity_val_steps=2):
        self.max_epochs, self.sanity = max_epochs, num_sanity_val_steps

    def batch(self, n):
        return torch.randn(n, 3, 64, 64, device="cuda"), torch.randint(10, (n,), device="cuda")

    def validate(self, model, steps):
        model.eval()
        with torch.no_grad():
            for _ in range(steps):
                model.validation_step(self.batch(val_bs))
        model.train()

    def fit(self, model):
        model.cuda()
        optimizer = model.configure_optimizers()
        self.validate(model, self.sanity)
        for _ in range(self.max_epochs):
            for _ in range(4):
                loss = model.training_step(self.batch(32))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            self.validate(model, 4)


Trainer(max_epochs=2).fit(LitModel())
