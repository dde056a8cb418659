"""timm's vision transformer with mixed precision, on random images."""

import argparse

import timm
import torch


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="vit_tiny_patch16_224")
    parser.add_argument("-b", "--batch-size", type=int, default=256)
    parser.add_argument("--steps", type=int, default=3)
    args = parser.parse_args()
    model = timm.create_model(args.model, num_classes=100).cuda()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)
    criterion = torch.nn.CrossEntropyLoss(label_smoothing=0.1)
    for step in range(args.steps):
        images = torch.empty(args.batch_size, 3, 224, 224).cuda(non_blocking=True)
        target = torch.randint(100, (args.batch_size,)).cuda(non_blocking=True)
        with torch.autocast("cuda", dtype=torch.bfloat16):
            output = model(images)
            loss = criterion(output, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        print(f"{step}: {loss.item():.3f}")


if __name__ == "__main__":
    main()
