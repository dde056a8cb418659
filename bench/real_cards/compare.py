"""Device peaks of training jobs on real A100s against the simulated one: the tables of docs/accuracy.md.

    python bench/real_cards/compare.py mlp|timm [--rows N] [--results FILE.csv]

The real figures are nvidia-smi's, published with GPUMemNet (arXiv 2602.17817): 155 MLPs, 260 models of timm. The
simulated ones are PyTorch's reserved memory and one constant for each set: the context of that card with what its
libraries load, which the simulated card holds as well. Ends with status 1 where an error is beyond its bound.
"""

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
OOMTRACE = Path(os.environ.get("OOMTRACE_BUILD", HERE.parent.parent / "build")) / "bin" / "oomtrace"
MIB = 1 << 20
# Percent, (median, at this quantile, bound there): the project's goal for each group.
BOUNDS = {"mlp": (0.2, 0.95, 1.5), "attention": (1.5, 0.90, 5), "convolution": (3, 0.90, 10)}
# MiB: the median of what the real figures have beyond PyTorch's reserved memory, of the MLPs, and of timm's models of
# attention and matrices; timm's use cuDNN.
CONTEXT = {"mlp": 1429, "timm": 1665}
# Convolutions beyond a pixel, patches not counted, that still make it a model of attention or of matrices.
FEW_CONVOLUTIONS = 2


def simulate(rows, context):
    """Answers of jobs.py, two interpreters at a time; the card's context takes `context` MiB."""
    command = [OOMTRACE, "dryrun", "--gpu", "a100-40gb", "--context", f"{context}MiB", "--no-record"]
    command += ["--", sys.executable, HERE / "jobs.py"]
    workers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        for _ in range(min(2, os.cpu_count() or 1))
    ]
    for worker, part in zip(workers, parts(rows, len(workers)), strict=True):
        worker.stdin.writelines(json.dumps(row) + "\n" for row in part)
        worker.stdin.close()
    answered = 0
    for worker, part in zip(workers, parts(rows, len(workers)), strict=True):
        for row, line in zip(part, worker.stdout, strict=True):
            row |= json.loads(line)
            answered += 1
            print(f"\r{answered} of {len(rows)}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)


def parts(rows, count):
    return [rows[i::count] for i in range(count)]


def group_of(row):
    if "timm_model" not in row:
        return "mlp"
    return "attention" if row.get("convolutions", 0) <= FEW_CONVOLUTIONS else "convolution"


def why_left_out(row, context):
    """Rows whose real figure is no peak of a whole run; "": it counts."""
    if row["end"] == "out of memory":
        return "dies on the simulated card too, at a level that the real figure need not have reached"
    if row["end"] != "ok" and "reserved" not in row:
        return f"no simulated run: {row['end']}"
    held = 3 * row.get("parameters", 0) / MIB + context
    if row["real"] < held:
        return f"less than parameters, gradients and momentum alone ({held:.0f} MiB): the real run died before its step"
    return ""


def quantile(values, share):
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("data", choices=["mlp", "timm"])
    parser.add_argument("--rows", type=int, help="only so many, spread over the file")
    parser.add_argument("--results", type=Path, help="a table of all rows")
    arguments = parser.parse_args()
    with open(HERE / f"a100_40gb_{arguments.data}.csv") as file:
        rows = list(csv.DictReader(file))
    if arguments.rows:
        rows = rows[:: max(1, len(rows) // arguments.rows)][: arguments.rows]
    context = CONTEXT[arguments.data]
    simulate(rows, context)

    for row in rows:
        row["real"] = int(row["measured_device_mib"])
        row["group"] = group_of(row)
    for row in rows:
        row["left_out"] = why_left_out(row, context)
        row["simulated"] = round(row.get("reserved", 0) / MIB + context)
        row["error_percent"] = round(100 * (row["simulated"] - row["real"]) / row["real"], 2)
    rest = [
        row["real"] - row["reserved"] / MIB for row in rows if not row["left_out"] and row["group"] != "convolution"
    ]
    print(f"{arguments.data}: reserved memory and {context} MiB (what is left, median: {statistics.median(rest):.0f})")
    failed = False
    for group, (median, share, bound) in BOUNDS.items():
        errors = [abs(row["error_percent"]) for row in rows if row["group"] == group and not row["left_out"]]
        if not errors:
            continue
        low = sum(row["error_percent"] < -2 for row in rows if row["group"] == group and not row["left_out"])
        figures = statistics.median(errors), quantile(errors, share)
        failed = failed or figures[0] > median or figures[1] > bound
        print(
            f"  {group}, {len(errors)} rows: median {figures[0]:.2f} % (bound {median}), "
            f"{share:.0%} within {figures[1]:.2f} % (bound {bound}), worst {max(errors):.1f} %, "
            f"{low} more than 2 % too low"
        )
    for row in rows:
        if row["left_out"]:
            name = row.get("timm_model", "MLP")
            print(f"  left out: {name}, batch {row['batch_size']}, real {row['real']} MiB: {row['left_out']}")
    if arguments.results:
        with open(arguments.results, "w", newline="") as file:
            names = ["timm_model"] if arguments.data == "timm" else ["input_size", "hidden_layers", "architecture"]
            names += ["batch_size", "group", "real", "simulated", "error_percent", "end", "left_out"]
            writer = csv.DictWriter(file, names, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)
    return 1 if failed else 0


sys.exit(main())
