"""Distillation: nobody switched gradients off for the teacher, whose activations are kept as well.

pattern: first_batch
card: 1.2GiB
cause: untrained_network_keeps_graph
fix: micro_batch | micro_batch_expandable_segments | no_grad | activation_checkpointing | dead_weight
proof: --fixed
"""

import sys

import torch
import torch.nn.functional as F
import torchvision

teacher = torchvision.models.resnet50(num_classes=100).cuda().eval()
student = torchvision.models.resnet18(num_classes=100).cuda()
optimizer = torch.optim.SGD(student.parameters(), lr=0.05, momentum=0.9)
for step in range(3):
    x = torch.randn(64, 3, 96, 96, device="cuda")
    with torch.set_grad_enabled("--fixed" not in sys.argv):
        soft = teacher(x)  # culprit
    out = student(x)  # culprit
    loss = F.kl_div(F.log_softmax(out / 4, 1), F.softmax(soft / 4, 1), reduction="batchmean")
    optimizer.zero_grad()
    loss.backward()  # culprit
    optimizer.step()
