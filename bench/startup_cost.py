"""What the recorder adds to the start of a program, and where: `import torch`, then the first tensor on a device.

    python bench/startup_cost.py [--rounds N]

Each round runs a process with the recorder and one without, in turn, on a simulated GPU. CPU time as the process counts
it, the least of the rounds, since everything else that the machine does only adds.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

BUILD = Path(os.environ.get("OOMTRACE_BUILD", Path(__file__).resolve().parent.parent / "build")).resolve()
PROGRAM = """
import time
begin = time.process_time()
import torch
imported = time.process_time()
torch.zeros(1, device="cuda")
print(begin, imported - begin, time.process_time() - imported)
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


def measure(record):
    """CPU milliseconds: to the program's first line, of the import, of the first tensor."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", PROGRAM]
        output = subprocess.run(command, env=environment(folder, record), stdout=subprocess.PIPE, check=True).stdout
        assert bool(list(Path(folder).glob("*.oomtrace"))) == record, "recorded where it should not, or not at all"
    return [1000 * float(value) for value in output.split()]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10)
    rounds = parser.parse_args().rounds
    runs = {True: [], False: []}
    for number in range(rounds):
        for record in (number % 2 == 0, number % 2 == 1):
            runs[record].append(measure(record))
    added = 0
    for column, name in enumerate(("interpreter", "import torch", "first tensor")):
        with_recorder, without = (min(run[column] for run in runs[record]) for record in (True, False))
        added += with_recorder - without
        print(
            f"{name:12} {without:8.1f} ms, with the recorder {with_recorder:8.1f} ms: {with_recorder - without:+6.1f}"
        )
    print(f"added: {added:.1f} ms of {BUDGET_MS} ms")
    return added > BUDGET_MS


if __name__ == "__main__":
    sys.exit(main())
