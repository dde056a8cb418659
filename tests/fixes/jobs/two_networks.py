"""A student that follows a teacher nobody trains, or with --adversarial 1 a generator and its critic."""

import contextlib

import knobs as k
import torch
from torch import nn


def net(inputs, width, depth, outputs):
    layers = [nn.Linear(inputs, width), nn.ReLU()]
    for _ in range(depth):
        layers += [nn.Linear(width, width), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(width, outputs)).to("cuda")


def distil(o):
    teacher, student = net(96, 2 * o.width, o.depth, 80), net(96, o.width, o.depth, 80)
    opt = k.optimizer(o, student.parameters())
    if o.freeze:
        teacher.requires_grad_(False)
    for _ in range(o.steps):
        for _ in range(o.accumulation):
            x = torch.randn(o.batch_size, 96).to("cuda")
            with torch.no_grad() if o.freeze else contextlib.nullcontext():
                wanted = teacher(x)
            nn.functional.mse_loss(student(x), wanted).backward()
        opt.step()
        opt.zero_grad()


def adversarial(o):
    maker, critic = net(48, o.width, o.depth, 700), net(700, o.width, o.depth, 1)
    first, second = k.optimizer(o, maker.parameters()), k.optimizer(o, critic.parameters())
    for _ in range(o.steps):
        real, seed = torch.randn(o.batch_size, 700).to("cuda"), torch.randn(o.batch_size, 48).to("cuda")
        second.zero_grad()
        (critic(maker(seed).detach()).mean() - critic(real).mean()).backward()
        second.step()
        first.zero_grad()
        (-critic(maker(seed)).mean()).backward()
        first.step()


options = k.read(width=1024, depth=6, batch_size=1500, adversarial=0)
(adversarial if options.adversarial else distil)(options)
