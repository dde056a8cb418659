"""What `oomtrace analyze` takes for a trace of many events: seconds and most resident memory, against the bounds.

python analyze_cost.py [--events MILLIONS]

The real recorder records it of a program that allocates and frees for as long (tests/kill/hosts/host.c, "endless").
Bounds: 100 million events in 30 s and 1 GiB, fewer in proportion, at least 1 s and 256 MiB. Ends with status 1 where
one is exceeded. Seconds are of the CPU: what else the machine does is no part of them.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
BUILD = Path(os.environ.get("OOMTRACE_BUILD", HERE.parent / "build")).resolve()
MOST_SECONDS, MOST_MIB = 30, 1024  # for 100 million events


def record(folder, millions):
    environment = os.environ | {
        "LD_PRELOAD": str(BUILD / "lib" / "liboomtrace.so"),
        "OOMTRACE_DIR": str(folder),
        "OOMTRACE_BUDGET": "4GiB",
    }
    subprocess.run(
        [BUILD / "bin" / "kill_host", "endless", str(millions)], env=environment, stdout=subprocess.DEVNULL, check=True
    )
    return max(Path(folder).glob("*.oomtrace"), key=lambda path: path.stat().st_mtime)


def analyze(trace):
    """The report, CPU seconds and MiB of the one child that this process has waited for since."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    out = subprocess.run([BUILD / "bin" / "oomtrace", "analyze", "--format", "json", trace], capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return json.loads(out.stdout), seconds, after.ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--events", type=int, default=100, help="millions")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        trace = record(folder, arguments.events)
        report, seconds, mib = analyze(trace)
    events = report["trace"]["events"]
    share = events / 100e6
    bounds = max(1, share * MOST_SECONDS), max(256, share * MOST_MIB)
    print(f"{events} events: {seconds:.1f} s of CPU time, at most {bounds[0]:.0f}")
    print(f"{mib:.0f} MiB resident, at most {bounds[1]:.0f}")
    sys.exit(seconds > bounds[0] or mib > bounds[1])


main()
