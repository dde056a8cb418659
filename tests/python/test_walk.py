"""The walk of Python's frames in every version of Python that this machine has."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("OOMTRACE_BUILD", REPOSITORY / "build")).resolve()
PROBE = BUILD / "tests" / "liboomtrace_stack_probe.so"
MINORS = range(9, 15)


def interpreters(minor):
    """Paths: of this one, on PATH, of pyenv."""
    found = [sys.executable] if sys.version_info.minor == minor else []
    found += filter(None, [shutil.which(f"python3.{minor}")])
    home = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    found += [str(path) for path in sorted(home.glob(f"versions/3.{minor}.*/bin/python3.{minor}"))]
    return [path for path in dict.fromkeys(found) if starts(path)]


def starts(path):
    """pyenv puts names on PATH that only say that they are not to be used."""
    return subprocess.run([path, "-c", ""], capture_output=True, timeout=60).returncode == 0


@pytest.mark.parametrize("minor", MINORS)
def test_the_walk_sees_what_the_interpreter_says(minor):
    paths = interpreters(minor)
    if not paths:
        pytest.skip(f"no python3.{minor} on PATH or in pyenv")
    for path in paths:
        command = [path, Path(__file__).with_name("walk_check.py"), PROBE]
        finished = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=120)
        assert finished.returncode == 0, f"{path}:\n{finished.stderr[-4000:]}"
        assert finished.stdout.startswith("ok"), finished.stdout
