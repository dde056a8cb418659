"""Dies in the way that its argument says, and catches it: prints the message and PyTorch's own counters, as JSON."""

import json
import sys

import torch

MIB = 1 << 20


def hold(mib):
    return torch.empty(mib * MIB, dtype=torch.uint8, device="cuda")


def full():
    held.extend(hold(64) for _ in range(20))


def limit():
    torch.cuda.set_per_process_memory_fraction(0.25)
    held.extend(hold(32) for _ in range(20))


def larger_than_card():
    hold(4096)


def idle_cache():
    held.extend(hold(9) for _ in range(80))  # two in a segment of 20 MiB
    del held[::2]
    hold(200)


held = []
try:
    {f.__name__: f for f in (full, limit, larger_than_card, idle_cache)}[sys.argv[1]]()
except torch.cuda.OutOfMemoryError as error:
    free, total = torch.cuda.mem_get_info()
    counters = {"free": free, "total": total, "allocated": torch.cuda.memory_allocated()}
    print(json.dumps({"message": str(error), **counters, "reserved": torch.cuda.memory_reserved()}))
