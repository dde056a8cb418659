"""The knobs that these jobs share: what a fix turns. Each job uses those that mean something to it."""

import argparse
import contextlib

import torch
from torch.utils.checkpoint import checkpoint


def read(**defaults):
    parser = argparse.ArgumentParser()
    known = {
        "batch_size": 64,
        "accumulation": 1,
        "eval_batch_size": 64,
        "steps": 3,
        "width": 256,
        "depth": 4,
        "settings": "",
        "optimizer": "AdamW",
        "no_grad": 0,
        "to_cpu": 0,
        "detach": 0,
        "fused": 0,
        "checkpoint": 0,
        "bf16": 0,
        "freeze": 0,
        "autocast": 0,
    }
    for name, value in (known | defaults).items():
        parser.add_argument(f"--{name}", type=type(value), default=value)
    knobs = parser.parse_args()
    if knobs.settings:
        torch.cuda.memory._set_allocator_settings(knobs.settings)
    return knobs


def optimizer(knobs, parameters, **more):
    options = {"fused": True} if knobs.fused and knobs.optimizer != "RMSprop" else {}
    return getattr(torch.optim, knobs.optimizer)(parameters, lr=1e-3, **options, **more)


def blocks(knobs, modules, x):
    """Runs modules one after another, each recomputed in backward where that was asked for."""
    for module in modules:
        x = checkpoint(module, x, use_reentrant=False) if knobs.checkpoint and x.requires_grad else module(x)
    return x


def placed(knobs, model):
    model = model.to("cuda")
    return model.to(torch.bfloat16) if knobs.bf16 else model


def data(knobs, *shape):
    x = torch.randn(*shape).to("cuda")
    return x.to(torch.bfloat16) if knobs.bf16 else x


def autocast(knobs):
    return torch.autocast("cuda", torch.bfloat16) if knobs.autocast else contextlib.nullcontext()
