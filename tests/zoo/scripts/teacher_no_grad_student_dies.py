"""Distillation done right for the teacher, in eval mode and without gradients; it is the student's batch that is too large.

pattern: first_batch
card: 1.2GiB
cause: activations_too_large
fix: micro_batch | micro_batch_expandable_segments | activation_checkpointing
run: --batch 192
proof: --batch 24
"""  # noqa: E501

import argparse

import torch
import torch.nn.functional as F
import torchvision

parser = argparse.ArgumentParser()
parser.add_argument("--batch", type=int, default=64)
args = parser.parse_args()

teacher = torchvision.models.resnet34(num_classes=50).cuda().eval()
student = torchvision.models.mobilenet_v2(num_classes=50).cuda()
optimizer = torch.optim.AdamW(student.parameters())
for step in range(3):
    images = torch.randn(args.batch, 3, 96, 96, device="cuda")
    with torch.no_grad():
        soft = teacher(images)
    out = student(images)  # culprit
    loss = F.kl_div(F.log_softmax(out / 2, 1), F.softmax(soft / 2, 1), reduction="batchmean")
    optimizer.zero_grad()
    loss.backward()  # culprit
    optimizer.step()
