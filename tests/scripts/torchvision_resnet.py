"""torchvision's ResNet-18 on random images, in the style of its own reference scripts."""

import argparse

import torch
import torchvision


def train_one_epoch(model, criterion, optimizer, batches, device, batch_size):
    model.train()
    for i in range(batches):
        image = torch.zeros(batch_size, 3, 224, 224).to(device)
        target = torch.randint(1000, (batch_size,)).to(device)
        output = model(image)
        loss = criterion(output, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        print(i, loss.item())


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch-size", default=64, type=int)
    parser.add_argument("--batches", default=3, type=int)
    args = parser.parse_args()
    device = torch.device("cuda")
    model = torchvision.models.resnet18(weights=None)
    model.to(device)
    criterion = torch.nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    train_one_epoch(model, criterion, optimizer, args.batches, device, args.batch_size)
