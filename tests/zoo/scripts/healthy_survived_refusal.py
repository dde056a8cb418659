"""A program that looks for the largest batch: it catches the errors on the way and trains with what fits.

pattern: healthy
card: 900MiB
"""

import gc

import torch
import torchvision

model = torchvision.models.resnet18(num_classes=10).cuda()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)


def step(n):
    x = torch.randn(n, 3, 96, 96, device="cuda")
    y = torch.randint(10, (n,), device="cuda")
    loss = torch.nn.functional.cross_entropy(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


batch = 512
while batch > 1:
    try:
        step(batch)
        break
    except torch.cuda.OutOfMemoryError:
        batch //= 2
    gc.collect()
    torch.cuda.empty_cache()
batch //= 2
for _ in range(8):
    step(batch)
print("trained with", batch)
