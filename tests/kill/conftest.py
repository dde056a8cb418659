"""Runs real PyTorch under the recorder and the simulated GPU of one build."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("OOMTRACE_BUILD", REPOSITORY / "build")).resolve()
RECORDER = BUILD / "lib" / "liboomtrace.so"
SIMULATED_GPU = BUILD / "lib" / "simgpu"
TIMEOUT = 120


def simulated_libraries():
    return [str(SIMULATED_GPU / name) for name in (SIMULATED_GPU / "preload.txt").read_text().split()]


class Job:
    """A training in a directory of its own."""

    def __init__(self, directory):
        self.directory = directory

    def environment(self, record=True, **more):
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("OOMTRACE", "PYTORCH"))}
        return clean | {
            "LD_PRELOAD": ":".join(([str(RECORDER)] if record else []) + simulated_libraries()),
            "LD_LIBRARY_PATH": str(SIMULATED_GPU),
            "OOMTRACE_SIM_GPU": "rtx4070",
            **more,
        }

    def write(self, text, name="train.py"):
        (self.directory / name).write_text(text)
        return name

    def start(self, *command, record=True, **environment):
        return subprocess.Popen(
            [sys.executable, *command] if command[0] != "!" else command[1:],
            cwd=self.directory,
            env=self.environment(record, **environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *command, record=True, **environment):
        """(exit status, stdout, stderr)"""
        process = self.start(*command, record=record, **environment)
        out, err = process.communicate(timeout=TIMEOUT)
        return process.returncode, out, err

    def traces(self, directory=None):
        return sorted((directory or self.directory).glob("*.oomtrace"))


@pytest.fixture
def job(tmp_path):
    if not RECORDER.exists() or not (SIMULATED_GPU / "preload.txt").exists():
        pytest.fail(f"no recorder or no simulated GPU in {BUILD}: build first, or set OOMTRACE_BUILD")
    return Job(tmp_path)
