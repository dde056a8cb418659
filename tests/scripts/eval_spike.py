"""Trains with a small batch, validates with a large one and without torch.no_grad()."""

import torch
from torch import nn, optim


def make_model():
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(4),
        nn.Flatten(),
        nn.Linear(1024, 10),
    )


def train_epoch(model, optimizer, loss_fn, batches, batch_size):
    model.train()
    for _ in range(batches):
        images = torch.randn(batch_size, 3, 64, 64).cuda()
        labels = torch.randint(10, (batch_size,)).cuda()
        loss = loss_fn(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def validate(model, loss_fn, batch_size):
    model.eval()
    total = 0.0
    for _ in range(3):
        images = torch.randn(batch_size, 3, 64, 64).cuda()
        labels = torch.randint(10, (batch_size,)).cuda()
        predictions = model(images)
        total += loss_fn(predictions, labels).item()
    return total / 3


def main():
    model = make_model().cuda()
    optimizer = optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    loss_fn = nn.CrossEntropyLoss()
    for epoch in range(3):
        train_epoch(model, optimizer, loss_fn, batches=8, batch_size=32)
        print("epoch", epoch, "validation loss", validate(model, loss_fn, batch_size=512))


main()
