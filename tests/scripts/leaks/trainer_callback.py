"""A callback of a trainer remembers what each step logged, as tensors.

holder: RecordOutputs.records
made: self.model(x)
"""

import sys

import torch
from torch import nn


def make_model():
    return nn.Sequential(nn.Linear(256, 1024), nn.ReLU(), nn.Linear(1024, 256)).cuda()


def batch():
    return torch.randn(512, 256, device="cuda"), torch.randn(512, 256, device="cuda")


class Callback:
    def on_step_end(self, trainer, logs):
        pass


class PrintLoss(Callback):
    def on_step_end(self, trainer, logs):
        if trainer.step % 100 == 0:
            print(trainer.step, logs["loss"].item(), flush=True)


class RecordOutputs(Callback):
    def __init__(self):
        self.records = []

    def on_step_end(self, trainer, logs):
        self.records.append(logs)


class Trainer:
    def __init__(self, model, callbacks):
        self.model, self.callbacks, self.step = model, callbacks, 0
        self.optimizer = torch.optim.AdamW(model.parameters())

    def training_step(self, x, y):
        out = self.model(x)
        loss = nn.functional.mse_loss(out, y)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        logs = {"loss": loss.detach(), "outputs": out.detach()}
        for callback in self.callbacks:
            callback.on_step_end(self, logs)
        self.step += 1

    def fit(self, steps):
        for _ in range(steps):
            self.training_step(*batch())


def main(steps):
    Trainer(make_model(), [PrintLoss(), RecordOutputs()]).fit(steps)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
