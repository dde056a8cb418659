"""What the tests share: where things lie, how a command is run, what holds for every report.

OOMTRACE_BUILD names another build folder than <repository>/build.
"""

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
BUILD = Path(os.environ.get("OOMTRACE_BUILD", REPOSITORY / "build")).resolve()
OOMTRACE = BUILD / "bin" / "oomtrace"
SCRIPTS = REPOSITORY / "tests" / "scripts"
GPT = REPOSITORY / "examples" / "gpt" / "train.py"
GIB = 1 << 30
MIB = 1 << 20

# A test that hangs must not hang the suite: the slowest script takes a minute on two cores.
TIME_LIMIT_S = 600


@dataclass
class Job:
    """A finished command and the trace it left (None: none); `truth`: see WarmInterpreter."""

    status: int
    stdout: str
    stderr: str
    trace: Path | None = None
    truth: list | None = None

    @property
    def refused(self):
        """The numbers of PyTorch's message, in bytes (it prints two decimals): requested, allocated, unallocated."""
        size = r"([\d.]+) (bytes|KiB|MiB|GiB)"
        pattern = rf"Tried to allocate {size}.*?{size} is allocated by PyTorch, and {size} is reserved by PyTorch"
        found = re.search(pattern, self.stderr, re.DOTALL)
        assert found, f"no out-of-memory message in:\n{self.stderr[-3000:]}"
        unit = {"bytes": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
        numbers = found.groups()
        return [float(numbers[i]) * unit[numbers[i + 1]] for i in (0, 2, 4)]


def run(command, cwd=None, env=None, stdin=subprocess.DEVNULL, timeout=TIME_LIMIT_S):
    """Runs a command without a terminal; `env` is added to ours."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("OOMTRACE_", "LD_PRELOAD", "PYTORCH_"))}
    finished = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=environment | (env or {}),
        stdin=stdin,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout,
    )
    return Job(finished.returncode, finished.stdout, finished.stderr)


class WarmInterpreter:
    """`oomtrace dryrun` round tests/warm.py: jobs that spare the import of PyTorch and of `modules`. `truth`: bytes
    after steps."""

    def __init__(self, folder, options=(), modules=()):
        self.folder, self.count = folder, 0
        command = [OOMTRACE, "dryrun", "--gpu", "1GiB", *options, "-o", folder / "warm.oomtrace", "--", sys.executable]
        command += [Path(__file__).parent / "warm.py", *modules]
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("OOMTRACE_", "LD_PRELOAD", "PYTORCH_"))}
        self.process = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, script, *arguments, capacity, environment=None):
        self.count += 1
        paths = {name: str(self.folder / f"{self.count}.{name}") for name in ("stdout", "stderr", "truth")}
        request = {"script": str(script), "arguments": arguments, "capacity": capacity, **paths}
        request["environment"] = environment or {}
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        # The first to touch the device has the name that was asked for.
        named = (self.folder / f"warm.{answer['pid']}.oomtrace", self.folder / "warm.oomtrace")
        trace = self.folder / f"{self.count}.oomtrace"
        left = next((path for path in named if path.exists()), None)
        assert left, f"{script} left no trace:\n{Path(paths['stderr']).read_text()[-3000:]}"
        left.rename(trace)
        job = Job(answer["status"], Path(paths["stdout"]).read_text(), Path(paths["stderr"]).read_text(), trace)
        job.truth = json.loads(Path(paths["truth"]).read_text())
        return job

    def close(self):
        self.process.stdin.close()
        self.process.wait(timeout=TIME_LIMIT_S)


@dataclass
class Verdict:
    status: int
    report: dict

    def __getattr__(self, name):
        return self.report[name]


def lines_with(script, snippet):
    """Numbers of the lines of a script that contain the snippet; a test names its culprit so."""
    numbers = [n for n, line in enumerate(Path(script).read_text().splitlines(), 1) if snippet in line]
    assert numbers, f"{script} has no line with {snippet!r}"
    return numbers


def assert_adds_up(report):
    """Every byte of the device is booked once."""
    device = report["device"]
    parts = ("tensors", "cache", "other", "context", "other_processes", "free")
    assert all(device[part] >= 0 for part in parts), device
    assert sum(device[part] for part in parts) == device["total"], device
    assert sum(report["categories"].values()) == device["tensors"], report["categories"]
