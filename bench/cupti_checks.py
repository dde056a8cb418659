"""What only a real GPU can tell about the CUPTI collector: `python bench/cupti_checks.py` on a machine with one.

Each check runs a small job under `oomtrace run` (build/bin/oomtrace, or OOMTRACE_BUILD) and prints one line of JSON.
Needs PyTorch with CUDA. What they find belongs into docs/cupti.md: the first line has date, driver and card.

  --quick         a hundredth of the work: whether the checks themselves run, not what they measure
  --cupti FILE    another libcupti of the same soname: whether it can stand in for the one that PyTorch brings
"""

import argparse
import datetime
import json
import os
import pathlib
import platform
import subprocess
import sys
import tempfile

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
BUILD = pathlib.Path(os.environ.get("OOMTRACE_BUILD", REPOSITORY / "build")).resolve()
OOMTRACE = BUILD / "bin" / "oomtrace"
WHOLE_RUN = "--timeline=100000000"  # more steps than any check has

MACHINE = """
import json, torch
print(json.dumps({"torch": torch.__version__, "cuda": torch.version.cuda, "gpu": torch.cuda.is_available() and
                  torch.cuda.get_device_name()}))
"""
# Free bytes of the device, and microseconds a launch.
LAUNCHES = """
import sys, time, torch
x = torch.zeros(1024, device="cuda")
def run(n):
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(n):
        x.add_(1)
    torch.cuda.synchronize()
    return (time.perf_counter() - start) / n * 1e6
n = int(sys.argv[1])
run(n // 2)
times = [run(n) for _ in range(7)]
print(torch.cuda.mem_get_info()[0], min(times))
"""
ALLOCATIONS = """
import torch
blocks = [torch.empty(64 << 20, dtype=torch.uint8, device="cuda") for _ in range(8)]
torch.cuda.synchronize()
"""
# Kernels that the profiler sees in each of three cycles; then a tensor whose uses the collector should see.
PROFILER = """
import sys, time, torch
from torch.profiler import ProfilerActivity, profile
x = torch.zeros(1024, device="cuda")
for _ in range(3):
    with profile(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as found:
        for _ in range(100):
            x.add_(1)
        torch.cuda.synchronize()
    print(sum("elementwise" in e.name() for e in found.profiler.kineto_results.events()))
    time.sleep(1)
late = torch.zeros(8 << 20, device="cuda").add_(1)
torch.cuda.synchronize()
"""
# Bytes of the device that many launches take.
GROWTH = """
import sys, torch
x = torch.zeros(1024, device="cuda")
torch.cuda.synchronize()
before = torch.cuda.mem_get_info()[0]
for _ in range(int(sys.argv[1])):
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
# Milliseconds that a refused allocation takes, after many launches.
REFUSAL = """
import sys, time, torch
x = torch.zeros(1024, device="cuda")
times = []
for _ in range(5):
    for _ in range(int(sys.argv[1])):
        x.add_(1)
    start = time.perf_counter()
    try:
        torch.empty(1 << 50, dtype=torch.uint8, device="cuda")
    except torch.OutOfMemoryError:
        times.append((time.perf_counter() - start) * 1e3)
print(min(times), max(times))
"""


def run(script, *arguments, options=(), **environment):
    """The words that the script printed, and gpu_time of its trace's report (None: it left none)."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "script.py"
        path.write_text(script)
        trace = pathlib.Path(folder) / "t.oomtrace"
        command = [OOMTRACE, "run", "-o", trace, *options, "--", sys.executable, path, *map(str, arguments)]
        job = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True)
        if job.returncode != 0:
            raise SystemExit(f"cupti_checks: a check's job failed:\n{job.stderr[-2000:]}")
        if not trace.exists():
            raise SystemExit(f"cupti_checks: a check's job left no trace:\n{job.stderr[-2000:]}")
        report = subprocess.run([OOMTRACE, "analyze", "--format", "json", trace], capture_output=True, text=True)
        return job.stdout.split(), json.loads(report.stdout)["gpu_time"]


def brief(gpu):
    return {k: gpu[k] for k in ("state", "audit", "kernels", "unknown_parameters", "graph_kernels", "notes")}


def say(check, **found):
    print(json.dumps({"check": check} | found), flush=True)


def driver():
    found = pathlib.Path("/proc/driver/nvidia/version")
    return found.read_text().splitlines()[0] if found.exists() else "none"


def require_gpu():
    """Says on what the checks run, or ends."""
    if not OOMTRACE.exists():
        raise SystemExit(f"cupti_checks: {OOMTRACE} is missing: run `make build`, or set OOMTRACE_BUILD")
    asked = subprocess.run([sys.executable, "-c", MACHINE], capture_output=True, text=True)
    if asked.returncode != 0:
        raise SystemExit(f"cupti_checks: {sys.executable} cannot use PyTorch:\n{asked.stderr[-500:]}")
    machine = json.loads(asked.stdout)
    if not machine["gpu"]:
        raise SystemExit(
            "cupti_checks: PyTorch finds no GPU here; these checks need one (a real one, to mean anything)"
        )
    date = datetime.date.today().isoformat()
    say("machine", date=date, driver=driver(), system=platform.release(), **machine)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--cupti", metavar="FILE")
    arguments = parser.parse_args()
    launches, many = (200, 10_000) if arguments.quick else (5_000, 1_000_000)
    window = (WHOLE_RUN,)
    require_gpu()

    for setting in ("", "expandable_segments:True", "backend:cudaMallocAsync"):
        _, gpu = run(ALLOCATIONS, OOMTRACE_CUPTI="mem", PYTORCH_CUDA_ALLOC_CONF=setting)
        say("1 allocations in CUPTI's account", allocator=setting or "default", **brief(gpu))

    off, _ = run(LAUNCHES, launches)
    for tier, options, environment in (
        ("memory", (), {"OOMTRACE_CUPTI": "mem"}),
        ("timeline", window, {}),
    ):
        on, gpu = run(LAUNCHES, launches, options=options, **environment)
        say(
            "2 device memory and 3 cost of a launch",
            tier=tier,
            device_bytes_taken=int(off[0]) - int(on[0]),
            us_per_launch={"off": float(off[1]), "on": float(on[1])},
            booked={"device": gpu["cupti_device_bytes"], "host": gpu["cupti_host_bytes"]},
            **brief(gpu),
        )
    _, gpu = run(GRAPH, options=window)
    say("3 kernels of graphs", expected=1000, **brief(gpu))

    alone, _ = run(PROFILER)
    beside, gpu = run(PROFILER, options=window)
    late = [t["uses"] for t in gpu["tensors"] if t["shape"] == [8 << 20]]
    in_time = all(0 <= t["first_use_ns"] <= 600e9 for t in gpu["tensors"] if t["uses"])
    say(
        "5 the profiler beside a window", kernels_alone=alone, kernels_beside=beside, uses_afterwards=late, **brief(gpu)
    )
    say("9 times after the profiler's clock", within_the_run=in_time)

    grown, gpu = run(GROWTH, many, options=window)
    say("6 device memory that launches take", launches=many, bytes=int(grown[0]), kernels=gpu["kernels"])
    if arguments.cupti:
        found, gpu = run(PROFILER, options=window, LD_PRELOAD=arguments.cupti)
        say("7 another libcupti", file=arguments.cupti, kernels_beside=found, **brief(gpu))
    off, _ = run(REFUSAL, launches)
    on, _ = run(REFUSAL, launches, options=window)
    say("8 a refusal", ms_least_and_most={"off": list(map(float, off)), "on": list(map(float, on))})


if __name__ == "__main__":
    main()
