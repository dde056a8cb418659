"""Refusals that PyTorch makes by itself, without asking the device; prints the text of each."""

import sys

import torch

torch.cuda.set_per_process_memory_fraction(0.25)
held = torch.empty(1 << 28, device="cuda")
for elements in (1 << 30, 1 << 61):
    try:
        torch.empty(elements, dtype=torch.int16, device="cuda")
    except RuntimeError as error:
        print(type(error).__name__, str(error).splitlines()[0])
# Not survived: the report is about this one.
sys.stdout.flush()
torch.empty(3, 1 << 28, dtype=torch.int32, device="cuda")
