"""A module in the style of Lightning gathers the outputs of its steps until the epoch ends.

holder: LitModel.training_step_outputs
made: self.net(x)
"""

import sys

import torch
from torch import nn


def make_model():
    return nn.Sequential(nn.Linear(256, 1024), nn.ReLU(), nn.Linear(1024, 256)).cuda()


def batch():
    return torch.randn(512, 256, device="cuda"), torch.randn(512, 256, device="cuda")


class LitModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = make_model()
        self.training_step_outputs = []

    def training_step(self, x, y):
        preds = self.net(x)
        loss = nn.functional.mse_loss(preds, y)
        self.training_step_outputs.append({"loss": loss.detach(), "preds": preds.detach()})
        return loss

    def on_train_epoch_end(self):
        print(torch.stack([item["loss"] for item in self.training_step_outputs]).mean().item())
        self.training_step_outputs.clear()


def fit(module, steps):
    module.train()
    optimizer = torch.optim.Adam(module.parameters())
    for _ in range(steps):
        loss = module.training_step(*batch())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    module.on_train_epoch_end()


def main(steps):
    fit(LitModel(), steps)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
