"""What the recorder adds to the start of a program: `import torch` and the first tensor on a device.

    python bench/startup_cost.py [--rounds N]

Each round runs a process with the recorder and one without, in turn, on a simulated GPU; the least of each is compared,
since everything else that the machine does only adds. CPU time is user and system time of the process.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BUILD = Path(os.environ.get("OOMTRACE_BUILD", Path(__file__).resolve().parent.parent / "build")).resolve()
PROGRAM = """
import time
begin = time.perf_counter()
import torch
imported = time.perf_counter()
torch.zeros(1, device="cuda")
print(imported - begin, time.perf_counter() - imported)
"""
BUDGET_MS = 30


def environment(folder, record):
    simulated = BUILD / "lib" / "simgpu"
    libraries = [str(simulated / name) for name in (simulated / "preload.txt").read_text().split()]
    recorder = [str(BUILD / "lib" / "liboomtrace.so")] if record else []
    return os.environ | {
        "LD_PRELOAD": ":".join(recorder + libraries),
        "LD_LIBRARY_PATH": str(simulated),
        "OOMTRACE_SIM_GPU": "rtx4070",
        "OOMTRACE_DIR": folder,
    }


def cpu_of_children():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure(record):
    """Milliseconds: the whole process, its CPU time, the import, the first tensor."""
    with tempfile.TemporaryDirectory() as folder:
        cpu, wall = cpu_of_children(), time.perf_counter()
        command = [sys.executable, "-c", PROGRAM]
        output = subprocess.run(command, env=environment(folder, record), stdout=subprocess.PIPE, check=True).stdout
        wall, cpu = time.perf_counter() - wall, cpu_of_children() - cpu
        assert bool(list(Path(folder).glob("*.oomtrace"))) == record, "recorded where it should not, or not at all"
    return [1000 * value for value in (wall, cpu, *map(float, output.split()))]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10)
    rounds = parser.parse_args().rounds
    runs = {True: [], False: []}
    for number in range(rounds):
        for record in (number % 2 == 0, number % 2 == 1):
            runs[record].append(measure(record))
    for column, name in enumerate(("process, wall", "process, CPU", "import torch", "first tensor")):
        with_recorder, without = (min(run[column] for run in runs[record]) for record in (True, False))
        print(f"{name:14} {without:8.1f} ms, with the recorder {with_recorder:8.1f} ms: {with_recorder - without:+6.1f}")
        if column == 1:
            added = with_recorder - without
    print(f"added, CPU: {added:.1f} ms of {BUDGET_MS} ms")
    return added > BUDGET_MS


if __name__ == "__main__":
    sys.exit(main())
