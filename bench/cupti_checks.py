"""What only a real GPU can tell about the CUPTI collector: `python bench/cupti_checks.py` on a machine with one.

Each check runs a small job under `oomtrace run` (build/bin/oomtrace, or OOMTRACE_BUILD) and prints one line of JSON.
Needs PyTorch with CUDA. What they find belongs into docs/cupti.md, with date, driver and card.
"""

import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
BUILD = pathlib.Path(os.environ.get("OOMTRACE_BUILD", REPOSITORY / "build")).resolve()
OOMTRACE = BUILD / "bin" / "oomtrace"

# Prints free bytes of the device and microseconds a launch.
LAUNCHES = """
import time, torch
x = torch.zeros(1024, device="cuda")
def run(n):
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(n):
        x.add_(1)
    torch.cuda.synchronize()
    return (time.perf_counter() - start) / n * 1e6
run(2000)
times = [run(5000) for _ in range(7)]
print(torch.cuda.mem_get_info()[0], min(times))
"""
ALLOCATIONS = """
import torch
blocks = [torch.empty(64 << 20, dtype=torch.uint8, device="cuda") for _ in range(8)]
torch.cuda.synchronize()
"""
PROFILER = """
import torch
from torch.profiler import ProfilerActivity, profile
x = torch.zeros(1024, device="cuda")
for _ in range(3):
    with profile(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as found:
        for _ in range(100):
            x.add_(1)
        torch.cuda.synchronize()
    print(sum("elementwise" in e.name() for e in found.profiler.kineto_results.events()))
"""
GROWTH = """
import torch
x = torch.zeros(1024, device="cuda")
torch.cuda.synchronize()
before = torch.cuda.mem_get_info()[0]
for _ in range(1_000_000):
    x.add_(1)
torch.cuda.synchronize()
print(before - torch.cuda.mem_get_info()[0])
"""
GRAPH = """
import torch
x = torch.zeros(1024, device="cuda")
graph = torch.cuda.CUDAGraph()
with torch.cuda.graph(graph):
    for _ in range(20):
        x.add_(1)
for _ in range(50):
    graph.replay()
torch.cuda.synchronize()
"""


def run(script, *options, **environment):
    """The script's output and the report of its trace (None: it left none)."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "script.py"
        path.write_text(script)
        trace = pathlib.Path(folder) / "t.oomtrace"
        job = subprocess.run(
            [OOMTRACE, "run", "-o", trace, *options, "--", sys.executable, path],
            env=os.environ | environment,
            capture_output=True,
            text=True,
        )
        if job.returncode != 0:
            return {"error": job.stderr[-500:]}, None
        if not trace.exists():
            return job.stdout.split(), None
        report = subprocess.run([OOMTRACE, "analyze", "--format", "json", trace], capture_output=True, text=True)
        return job.stdout.split(), json.loads(report.stdout)["gpu_time"]


def say(check, **found):
    print(json.dumps({"check": check} | found), flush=True)


def main():
    for setting in ("", "expandable_segments:True", "backend:cudaMallocAsync"):
        _, gpu = run(ALLOCATIONS, OOMTRACE_CUPTI="mem", PYTORCH_CUDA_ALLOC_CONF=setting)
        say("1 allocations in CUPTI's account", allocator=setting or "default", gpu_time=gpu)
    base, _ = run(LAUNCHES)
    for name, options, environment in (
        ("2, 3 memory tier", (), {"OOMTRACE_CUPTI": "mem"}),
        ("2, 3 timeline", ("--timeline=1000000",), {}),
    ):
        found, gpu = run(LAUNCHES, *options, **environment)
        if "error" in (base or {}) or "error" in (found or {}):
            say(name, base=base, found=found)
            continue
        say(
            name,
            device_bytes_taken=int(base[0]) - int(found[0]),
            us_per_launch={"off": float(base[1]), "on": float(found[1])},
            kernels=gpu["kernels"],
            cupti_device_bytes=gpu["cupti_device_bytes"],
        )
    say("4, 5, 9 the profiler beside a window", without=run(PROFILER)[0], beside=run(PROFILER, "--timeline=1000000")[0])
    say("6 growth of device memory in a million launches", found=run(GROWTH, "--timeline=1000000")[0])
    _, graph = run(GRAPH, "--timeline=1000000")
    say("7 graphs", kernels=graph and graph["kernels"], graph_kernels=graph and graph["graph_kernels"])
    times = []
    for _ in range(3):
        found, _ = run(LAUNCHES, "--timeline=1000000")
        times.append(float(found[1]) if isinstance(found, list) else float("nan"))
    say("8 spread of the cost for a launch", us=times, median=statistics.median(times))


if __name__ == "__main__":
    main()
