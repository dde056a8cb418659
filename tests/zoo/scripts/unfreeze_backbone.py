"""A head is trained first; after some epochs the backbone is unfrozen, and its graph, gradients and states come in.

pattern: late_allocation
card: 900MiB
cause: late_allocation | activations_too_large
fix: micro_batch | micro_batch_expandable_segments | late_allocation | smaller_optimizer_state | off_device | activation_checkpointing | expandable_segments
proof: --batch-size 8
"""  # noqa: E501

import argparse

import torch
import torchvision

parser = argparse.ArgumentParser()
parser.add_argument("--batch-size", type=int, default=64)
args = parser.parse_args()
model = torchvision.models.resnet50(num_classes=10).cuda()
for name, p in model.named_parameters():
    p.requires_grad = name.startswith("fc.")
optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-3)
for epoch in range(6):
    if epoch == 4:
        for p in model.parameters():
            p.requires_grad = True
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-5)
    for _ in range(3):
        x = torch.randn(args.batch_size, 3, 112, 112, device="cuda")
        y = torch.randint(10, (args.batch_size,), device="cuda")
        loss = torch.nn.functional.cross_entropy(model(x), y)  # culprit
        optimizer.zero_grad()
        loss.backward()  # culprit
        optimizer.step()  # culprit
