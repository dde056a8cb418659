"""An ordinary mixed-precision training with a validation loop that fits."""

import torch
from torch import nn


def main():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(256, 1024), nn.GELU(), nn.Linear(1024, 1024), nn.GELU(), nn.Linear(1024, 8)).cuda()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    scaler = torch.amp.GradScaler("cuda")
    running = 0.0
    for epoch in range(4):
        model.train()
        for _ in range(15):
            x, y = torch.randn(512, 256).cuda(), torch.randint(8, (512,)).cuda()
            with torch.autocast("cuda", dtype=torch.float16):
                loss = nn.functional.cross_entropy(model(x), y)
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()
            running = 0.9 * running + 0.1 * loss.item()
        model.eval()
        with torch.no_grad():
            correct = (model(torch.randn(512, 256).cuda()).argmax(1) == 0).sum().item()
        print(f"epoch {epoch}: loss {running:.3f}, correct {correct}")
    torch.save(model.state_dict(), "/dev/null")


if __name__ == "__main__":
    main()
