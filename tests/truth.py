"""Runs a script and prints what PyTorch itself says is allocated after each optimizer step: truth for the leak tests.

python truth.py STEPS script.py ARGUMENTS…   (ends the script after STEPS steps; one JSON line on the last stdout line)
"""

import json
import os
import runpy
import sys

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook


def main():
    steps, script = int(sys.argv[1]), sys.argv[2]
    sys.argv = sys.argv[2:]
    sys.path[0] = os.path.dirname(os.path.abspath(script))
    allocated = []

    def after_step(optimizer, arguments, keywords):
        allocated.append(torch.cuda.memory_allocated())
        if len(allocated) == steps:
            print(json.dumps(allocated), flush=True)
            os._exit(0)

    register_optimizer_step_post_hook(after_step)
    runpy.run_path(script, run_name="__main__")
    sys.exit(f"the script ended after {len(allocated)} steps, before {steps}")


main()
