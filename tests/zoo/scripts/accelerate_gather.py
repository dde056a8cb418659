"""accelerate: predictions are gathered in every evaluation step into a list, on the device.

pattern: eval_spike
card: 700MiB
cause: evaluation_accumulates_outputs
holder: predictions | references
fix: move_to_cpu
proof: --fixed
"""

import sys

import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader, TensorDataset

accelerator = Accelerator()
model = torch.nn.Sequential(
    torch.nn.Conv2d(3, 16, 3, padding=1),
    torch.nn.ReLU(),
    torch.nn.Conv2d(16, 32, 3, padding=1),
)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
train = DataLoader(TensorDataset(torch.randn(64, 3, 64, 64)), batch_size=16)
valid = DataLoader(TensorDataset(torch.randn(800, 3, 64, 64)), batch_size=16)
model, optimizer, train, valid = accelerator.prepare(model, optimizer, train, valid)

for epoch in range(3):
    model.train()
    for (images,) in train:
        outputs = model(images)
        loss = outputs.square().mean()
        accelerator.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
    model.eval()
    predictions = []
    for (images,) in valid:
        with torch.no_grad():
            outputs = model(images)  # culprit
        gathered = accelerator.gather_for_metrics(outputs)  # culprit
        predictions.append(gathered.cpu() if "--fixed" in sys.argv else gathered)  # culprit
    accelerator.print(epoch, sum(float(p.abs().mean()) for p in predictions))
