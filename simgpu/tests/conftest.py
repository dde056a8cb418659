"""Runs Python scripts on the simulated GPU, as `oomtrace dryrun` would."""

import os
import pathlib
import subprocess
import sys
import textwrap

import pytest

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("OOMTRACE_BUILD", REPOSITORY / "build")).resolve()
LIBRARIES = BUILD / "lib" / "simgpu"


def simulated_environment(**variables):
    """The activation contract of docs/simulated-gpu.md."""
    names = (LIBRARIES / "preload.txt").read_text().split()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OOMTRACE_SIM_")}
    environment["LD_PRELOAD"] = " ".join(str(LIBRARIES / name) for name in names)
    environment["TRITON_LIBCUDA_PATH"] = str(LIBRARIES)
    environment["OOMTRACE_SIM_GPU"] = "rtx4070"
    environment.update({name: str(value) for name, value in variables.items()})
    return environment


@pytest.fixture
def simulate(tmp_path):
    """simulate(source, *arguments, launcher=[...], expect=0, **environment) -> (stdout, stderr) of a script."""
    if not (LIBRARIES / "preload.txt").exists():
        pytest.fail(f"{LIBRARIES}/preload.txt is missing: build first, or set OOMTRACE_BUILD to the build directory")

    def run(source, *arguments, launcher=(), expect=0, timeout=300, **environment):
        script = tmp_path / "script.py"
        script.write_text(textwrap.dedent(source))
        done = subprocess.run(
            [sys.executable, *launcher, str(script), *map(str, arguments)],
            env=simulated_environment(**environment),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        assert done.returncode == expect, f"exit status {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout, done.stderr

    return run
