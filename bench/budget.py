"""Measures everything that budget.json bounds, in one run, and fails where a bound is exceeded.

python budget.py [--rounds N] [--output FILE.json]

What is compared runs in turns, so that what the machine does meanwhile hits all of it: start-ups process by process,
training steps a few at a time, in processes that live side by side. A time is given twice: from the least that was
ever measured, and as the median of the rounds. Each round also compares no recorder with no recorder: how far that
lies from nothing, with twice its standard error, is the noise of this run. A bound is exceeded where both figures
exceed it by more than the noise, kept where neither comes closer than that, and undecided in between: on a quiet
machine the noise is a per cent or two, on a busy one it may be all there is.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from trace_bytes import committed_bytes

HERE = Path(__file__).resolve().parent
BUILD = Path(os.environ.get("OOMTRACE_BUILD", HERE.parent / "build")).resolve()
OOMTRACE = BUILD / "bin" / "oomtrace"
PLAIN, CONTROL = "no recorder", "no recorder, again"
NO_STACKS, STACKS, HISTORY = "oomtrace, no stacks", "oomtrace", "_record_memory_history"
STARTUP = "import torch; torch.zeros(1, device='cuda')"


def command_of(mode, folder, arguments):
    """Of a Python program on the simulated GPU, with one recorder or none; and its environment."""
    trace = trace_of(mode, folder)
    trace.unlink(missing_ok=True)
    options = ["-o", trace] if mode in (NO_STACKS, STACKS) else ["--no-record"]
    words = [OOMTRACE, "dryrun", "--gpu", "rtx3090", *options, "--", sys.executable, *arguments]
    return [str(word) for word in words], os.environ | {"OOMTRACE_STACKS": "0" if mode == NO_STACKS else "1"}


def trace_of(mode, folder):
    return Path(folder) / f"{mode.replace(' ', '_')}.oomtrace"


def run(mode, folder, arguments, **variables):
    """Stdout and CPU seconds."""
    command, environment = command_of(mode, folder, arguments)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    out = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment | variables).stdout
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return out, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def in_turns(modes, rounds, measure):
    """mode -> what `measure(mode)` gave in each round."""
    found = {mode: [] for mode in modes}
    for number in range(rounds):
        shift = number % len(modes)
        for mode in [*modes[shift:], *modes[:shift]]:
            found[mode].append(measure(mode))
    return found


def both_ways(found, of, combine):
    """The figure from the least values, and the median of the rounds' figures."""
    rounds = [combine(*values) for values in zip(*(found[mode] for mode in of), strict=True)]
    least = {mode: min(found[mode]) for mode in of}
    if CONTROL in found:
        least[PLAIN] = min(least[PLAIN], *found[CONTROL])
    return [combine(*(least[mode] for mode in of)), statistics.median(rounds)]


def noise(found, combine, nothing):
    rounds = [combine(a, b) for a, b in zip(found[CONTROL], found[PLAIN], strict=True)]
    error = statistics.stdev(rounds) / len(rounds) ** 0.5 if len(rounds) > 1 else 0
    return abs(statistics.median(rounds) - nothing) + 2 * error


def difference(a, b):
    return a - b


def ratio(a, b):
    return a / b


def measure_events(rounds, folder):
    def measure(mode):
        out, _ = run(mode, folder, [HERE / "event_cost.py", BUILD / "lib" / "libevent_loop.so"])
        result = json.loads(out.splitlines()[-1])
        anchors.append(result["ticks_ns"])
        return result["pair_ns"]

    anchors = []
    found = in_turns([PLAIN, NO_STACKS, STACKS], rounds, measure)
    event = [pair / 2 for pair in both_ways(found, (NO_STACKS, PLAIN), difference)]
    with_stack = [pair - free for pair, free in zip(both_ways(found, (STACKS, PLAIN), difference), event, strict=True)]
    return {"event_ns": event, "event_with_stack_ns": with_stack}, min(anchors)


# Steps at a time, so that each finds its caches warm again, and how often each process has its turn in a round.
STEPS, TURNS = 5, 24


def step_round(modes, folder):
    """mode -> CPU ms of a step: all processes live at once and step by turns, the median of their turns is taken."""
    jobs = {}
    for mode in modes:
        history = ["--history", "python"] if mode == HISTORY else []
        arguments = [HERE / "gpt_step.py", "--in-turns", "--steps", STEPS, *history]
        command, environment = command_of(mode, folder, arguments)
        pipe = subprocess.PIPE
        jobs[mode] = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment)
        if jobs[mode].stdout.readline() != "ready\n":
            sys.exit(f"budget.py: {mode}: gpt_step.py did not start")
    turns = {mode: [] for mode in modes}
    for number in range(TURNS):
        shift = number % len(modes)
        for mode in [*modes[shift:], *modes[:shift]]:
            jobs[mode].stdin.write("\n")
            jobs[mode].stdin.flush()
            result = json.loads(jobs[mode].stdout.readline())
            turns[mode].append(min(result["cpu_ms"]))
            allocations = result["allocations_per_step"]
    for mode, job in jobs.items():
        job.stdin.close()
        if job.wait() != 0:
            sys.exit(f"budget.py: {mode}: gpt_step.py ended with status {job.returncode}")
    return {mode: statistics.median(values) for mode, values in turns.items()}, allocations


def measure_steps(rounds, folder):
    modes = [PLAIN, NO_STACKS, CONTROL, STACKS, HISTORY]
    found = {mode: [] for mode in modes}
    for number in range(rounds):
        shift = number % len(modes)  # who is started first
        values, allocations = step_round([*modes[shift:], *modes[:shift]], folder)
        for mode, value in values.items():
            found[mode].append(value)
    uncertain = noise(found, ratio, 1)
    figures = {
        "step_without_stacks": both_ways(found, (NO_STACKS, PLAIN), ratio),
        "step": both_ways(found, (STACKS, PLAIN), ratio),
        "cheaper_than_pytorch": both_ways(
            # Where our cost drowns in the noise it counts as a thousandth of the step.
            found,
            (HISTORY, STACKS, PLAIN),
            lambda history, ours, plain: (history - plain) / max(ours - plain, plain / 1000),
        ),
    }
    milliseconds = {mode: round(min(values), 3) for mode, values in found.items()}
    shapes = {"allocations": allocations}
    return figures, {"step": uncertain, "step_without_stacks": uncertain}, milliseconds | shapes


def measure_startup(rounds, folder):
    found = in_turns([PLAIN, CONTROL, STACKS], rounds, lambda mode: 1000 * run(mode, folder, ["-c", STARTUP])[1])
    return {"startup_ms": both_ways(found, (STACKS, PLAIN), difference)}, {"startup_ms": noise(found, difference, 0)}


def counts(trace):
    return json.loads(
        subprocess.run([BUILD / "bin" / "trace_counts", trace], stdout=subprocess.PIPE, check=True).stdout
    )


def measure_bytes(folder):
    trace = trace_of(STACKS, folder)
    run(STACKS, folder, [HERE / "gpt_step.py", "--steps", "60"])
    found = counts(trace)
    whole = committed_bytes(trace)["events"] / (found["allocs"] + found["frees"])
    run(STACKS, folder, [HERE / "gpt_step.py", "--steps", "800"], OOMTRACE_BUDGET="1MiB")
    found = counts(trace)
    if found["folded"] == 0:
        sys.exit("budget.py: nothing was folded in a trace of 1 MiB")
    return {"event_bytes": [whole], "folded_event_bytes": [committed_bytes(trace)["fold"] / found["folded"]]}


def measure_memory(folder):
    environment = {
        "LD_PRELOAD": str(BUILD / "lib" / "liboomtrace.so"),
        "OOMTRACE_DIR": folder,
        "OOMTRACE_BUDGET": "64MiB",
    }
    words = subprocess.run(
        [BUILD / "bin" / "kill_host", "endless", "20"], env=environment, stdout=subprocess.PIPE, text=True, check=True
    ).stdout.split()
    numbers = dict(zip(words[::2], map(int, words[1::2]), strict=True))
    return {"resident_mib": [(numbers["resident_kib"] - numbers["before_kib"]) / 1024]}


def verdict(bound, values, uncertain):
    if "least" in bound:
        return "EXCEEDED" if all(value < bound["least"] for value in values) else "kept"
    if all(value > bound["most"] + uncertain for value in values):
        return "EXCEEDED"
    return "kept" if all(value + uncertain <= bound["most"] for value in values) else "undecided"


def print_table(budget, figures, uncertain):
    """True where no bound is exceeded."""
    within = True
    for name, bound in budget.items():
        limit = f"at least {bound['least']}" if "least" in bound else f"at most {bound['most']}"
        found = verdict(bound, figures[name], uncertain.get(name, 0))
        within &= found != "EXCEEDED"
        values = ", ".join(f"{value:.3f}" for value in figures[name])
        values += f" (noise {uncertain[name]:.3f})" if name in uncertain else ""
        print(f"{found:9} {name:22} {values:30} {limit:15} {bound['what']}")
    return within


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--output", type=Path, default=BUILD / "bench" / "budget.json")
    arguments = parser.parse_args()
    budget = json.loads((HERE / "budget.json").read_text())
    with tempfile.TemporaryDirectory() as folder:
        figures, anchor = measure_events(arguments.rounds, folder)
        print(f"a pair of events, an anchor: the time-stamp counter is read in {anchor:.1f} ns", flush=True)
        steps, uncertain, milliseconds = measure_steps(arguments.rounds, folder)
        print(f"GPT-2 124M step, least CPU ms: {milliseconds}", flush=True)
        startup, startup_noise = measure_startup(arguments.rounds, folder)
        uncertain |= startup_noise
        figures |= steps | startup | measure_bytes(folder) | measure_memory(folder)
    within = print_table(budget, figures, uncertain)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    machine = {"python": platform.python_version(), "cpus": os.cpu_count(), "load": os.getloadavg()}
    arguments.output.write_text(
        json.dumps(
            {"machine": machine, "ticks_ns": anchor, "steps": milliseconds, "figures": figures, "noise": uncertain},
            indent=2,
        )
        + "\n"
    )
    print(f"written to {arguments.output}")
    sys.exit(0 if within else 1)


main()
