"""A teacher that nobody trains, with gradients on, and its student: called in either order, in either mode."""

import contextlib

import knobs as k
import torch
from torch import nn


def net(width, depth):
    layers = [layer for _ in range(depth) for layer in (nn.Linear(width, width), nn.GELU())]
    return nn.Sequential(*layers).cuda()


o = k.read(width=1024, batch_size=6000, teacher_depth=12, student_depth=2, teacher_first=1, eval_mode=1)
teacher, student = net(o.width, o.teacher_depth), net(o.width, o.student_depth)
teacher.train(not o.eval_mode)
optimizer = k.optimizer(o, student.parameters())


def soft_labels(x):
    with torch.no_grad() if o.no_grad else contextlib.nullcontext():
        return teacher(x)


for _ in range(o.steps):
    optimizer.zero_grad()
    for _ in range(o.accumulation):
        x = torch.randn(o.batch_size, o.width, device="cuda")
        if o.teacher_first:
            wanted, got = soft_labels(x), student(x)
        else:
            got, wanted = student(x), soft_labels(x)
        (nn.functional.mse_loss(got, wanted) / o.accumulation).backward()
    optimizer.step()
