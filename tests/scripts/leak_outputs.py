"""Collects every batch's predictions on the GPU to compute a metric at the end of the epoch."""

import torch
from torch import nn


class Trainer:
    def __init__(self, model, optimizer):
        self.model = model
        self.optimizer = optimizer
        self.history = []

    def training_step(self, x, y):
        self.optimizer.zero_grad()
        prediction = self.model(x)
        loss = nn.functional.mse_loss(prediction, y)
        loss.backward()
        self.optimizer.step()
        self.history.append(prediction.detach())
        return loss.item()

    def fit(self, steps):
        for step in range(steps):
            x = torch.randn(4096, 64, device="cuda")
            y = torch.randn(4096, 512, device="cuda")
            loss = self.training_step(x, y)
            if step % 20 == 0:
                print(f"step {step} loss {loss:.4f}", flush=True)


if __name__ == "__main__":
    net = nn.Sequential(nn.Linear(64, 1024), nn.ReLU(), nn.Linear(1024, 512)).cuda()
    Trainer(net, torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)).fit(2000)
