"""One measurement: wall and CPU milliseconds of each of some eager GPT-2 124M training steps. One JSON line on stdout.

python gpt_step.py [--history python|all] [--steps N] [--in-turns]

With --in-turns it writes "ready", then does so many steps for every line on stdin and answers with one line for them: a
program that starts several of these can let them step by turns.

On the simulated GPU kernels take no time, so a step is what the CPU spends on it: the part that recording can slow.
"""

import argparse
import json
import os
import sys
import time

import torch

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "examples", "gpt"))
from model import GPT, GPTConfig  # noqa: E402

WARM_UP_STEPS = 10


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--history", choices=["python", "all"], help="PyTorch's own recorder, with these stacks")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--in-turns", action="store_true")
    arguments = parser.parse_args()

    torch.manual_seed(0)
    model = GPT(GPTConfig()).cuda()
    optimizer = model.make_optimizer(0.1, 6e-4, (0.9, 0.95), fused=True)
    tokens = torch.zeros(4, 1024, dtype=torch.long, device="cuda")

    def step():
        with torch.amp.autocast("cuda", dtype=torch.bfloat16):
            _, loss = model(tokens, tokens)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    for _ in range(WARM_UP_STEPS):
        step()
    if arguments.history:
        torch.cuda.memory._record_memory_history(max_entries=10_000_000, stacks=arguments.history)

    def measure():
        before = torch.cuda.memory_stats()["allocation.all.allocated"]
        wall, cpu = [], []
        for _ in range(arguments.steps):
            begin, cpu_begin = time.perf_counter(), time.process_time()
            step()
            wall.append((time.perf_counter() - begin) * 1e3)
            cpu.append((time.process_time() - cpu_begin) * 1e3)
        allocations = torch.cuda.memory_stats()["allocation.all.allocated"] - before
        result = {"wall_ms": wall, "cpu_ms": cpu, "allocations_per_step": allocations / arguments.steps}
        print(json.dumps(result), flush=True)

    if not arguments.in_turns:
        measure()
        return
    print("ready", flush=True)
    for _ in sys.stdin:
        measure()


main()
