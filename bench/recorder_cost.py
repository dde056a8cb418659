"""What recording costs: an eager GPT-2 124M step with oomtrace's recorder and with PyTorch's, as ratios to neither.

python recorder_cost.py [--rounds N] [--output FILE.json]

Each round runs every mode once in a process of its own, in an order that turns by one each round, and compares within
the round only: what the machine does meanwhile hits all of them. The figure is the median of the rounds' ratios.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
BUILD = Path(os.environ.get("OOMTRACE_BUILD", REPOSITORY / "build")).resolve()
PLAIN = "no recorder"
CLOCKS = ("wall", "cpu")
MODES = {
    PLAIN: (["--no-record"], []),
    "oomtrace": ([], []),
    "_record_memory_history(stacks='python')": (["--no-record"], ["--history", "python"]),
    "_record_memory_history(stacks='all')": (["--no-record"], ["--history", "all"]),
}


def measure(mode, folder):
    """Median wall and CPU milliseconds of a step, and allocations per step."""
    options, arguments = MODES[mode]
    if not options:
        options = ["-o", os.path.join(folder, "bench.oomtrace")]
    command = [BUILD / "bin" / "oomtrace", "dryrun", "--gpu", "rtx3090", *options]
    command += ["--", sys.executable, REPOSITORY / "bench" / "gpt_step.py", *arguments]
    finished = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, text=True, check=True)
    result = json.loads(finished.stdout.splitlines()[-1])
    return (
        {clock: statistics.median(result[f"{clock}_ms"]) for clock in CLOCKS},
        result["allocations_per_step"],
    )


def run_rounds(rounds):
    modes = list(MODES)
    times = {mode: [] for mode in modes}
    allocations = 0
    with tempfile.TemporaryDirectory() as folder:
        for number in range(rounds):
            turned = modes[number % len(modes) :] + modes[: number % len(modes)]
            for mode in turned:
                milliseconds, allocations = measure(mode, folder)
                times[mode].append(milliseconds)
            print(
                f"round {number + 1} of {rounds}: " + ", ".join(f"{times[m][-1]['wall']:.2f} ms" for m in modes),
                flush=True,
            )
    return times, allocations


def summarise(times, allocations):
    rows = []
    for mode, measured in times.items():
        row = {"mode": mode}
        for clock in CLOCKS:
            ratios = [a[clock] / b[clock] for a, b in zip(measured, times[PLAIN], strict=True)]
            row[f"{clock}_ms_per_step"] = round(statistics.median(m[clock] for m in measured), 3)
            row[f"{clock}_ratio"] = round(statistics.median(ratios), 4)
            row[f"{clock}_ratio_range"] = [round(min(ratios), 4), round(max(ratios), 4)]
        rows.append(row)
    return {
        "what": "GPT-2 124M, eager, bfloat16 autocast, batch 4 x 1024, fused AdamW, simulated GPU",
        "cpu_count": os.cpu_count(),
        "python": platform.python_version(),
        "allocations_per_step": allocations,
        "rounds": len(times[PLAIN]),
        "rows": rows,
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--output", type=Path, default=BUILD / "bench" / "recorder_cost.json")
    arguments = parser.parse_args()
    summary = summarise(*run_rounds(arguments.rounds))
    print(f"\n{summary['what']}, {summary['allocations_per_step']:.0f} allocations a step")
    print(f"ratios: median (lowest to highest) of {summary['rounds']} rounds")
    for row in summary["rows"]:
        columns = [
            f"{clock} {row[f'{clock}_ms_per_step']:6.2f} ms, {row[f'{clock}_ratio']:.3f} "
            f"({row[f'{clock}_ratio_range'][0]:.3f} to {row[f'{clock}_ratio_range'][1]:.3f})"
            for clock in CLOCKS
        ]
        print(f"{row['mode']:40} {'   '.join(columns)}")
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(summary, indent=2) + "\n")
    print(f"written to {arguments.output}")


main()
