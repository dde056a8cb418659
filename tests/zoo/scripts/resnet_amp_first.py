"""A ResNet of torchvision under autocast with a GradScaler: 256 images of 128 by 128 are too many.

pattern: first_batch
card: 1GiB
cause: activations_too_large
fix: micro_batch | micro_batch_expandable_segments | activation_checkpointing
run: --batch-size 256
proof: --batch-size 32
"""

import argparse

import torch
import torchvision

parser = argparse.ArgumentParser()
parser.add_argument("--batch-size", type=int, default=64)
parser.add_argument("--lr", type=float, default=0.1)
args = parser.parse_args()

device = torch.device("cuda")
model = torchvision.models.resnet18(num_classes=100).to(device)
criterion = torch.nn.CrossEntropyLoss().to(device)
optimizer = torch.optim.SGD(model.parameters(), args.lr, momentum=0.9)
scaler = torch.amp.GradScaler("cuda")


def train(epoch):
    model.train()
    for _ in range(3):
        images = torch.randn(args.batch_size, 3, 128, 128).to(device, non_blocking=True)
        target = torch.randint(100, (args.batch_size,)).to(device, non_blocking=True)
        with torch.amp.autocast("cuda"):
            output = model(images)  # culprit
            loss = criterion(output, target)
        optimizer.zero_grad()
        scaler.scale(loss).backward()  # culprit
        scaler.step(optimizer)
        scaler.update()


for epoch in range(2):
    train(epoch)
