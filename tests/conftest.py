"""Runs scripts as a user would: `oomtrace dryrun` round them, `oomtrace analyze` on what they left."""

import json
import sys
from pathlib import Path

import pytest
from harness import OOMTRACE, Job, Verdict, run


def pytest_configure(config):
    if not OOMTRACE.exists():
        raise pytest.UsageError(f"{OOMTRACE} is missing: run `make build`, or set OOMTRACE_BUILD")


@pytest.fixture(scope="session")
def torch_cache(tmp_path_factory):
    """Inductor's and Triton's caches: shared by all tests of a run, never with other runs."""
    folder = tmp_path_factory.mktemp("compile-cache")
    return {"TORCHINDUCTOR_CACHE_DIR": str(folder / "torchinductor_tests"), "TRITON_CACHE_DIR": str(folder / "triton")}


@pytest.fixture
def dryrun(tmp_path, torch_cache):
    """dryrun(script, *arguments, gpu=…, other=…): the finished Job of a Python script on a simulated card."""
    count = 0

    def start(script, *arguments, gpu, other=None, env=None, record=True, options=()):
        nonlocal count
        count += 1
        trace = tmp_path / f"{Path(script).stem}-{count}.oomtrace"
        command = [OOMTRACE, "dryrun", "--gpu", gpu, *options]
        command += ["--other", other] if other else []
        command += ["-o", trace] if record else ["--no-record"]
        job = run([*command, "--", sys.executable, script, *arguments], cwd=tmp_path, env=torch_cache | (env or {}))
        job.trace = trace if trace.exists() else None
        return job

    return start


@pytest.fixture
def analyze():
    """analyze(job or path): exit status and report of `oomtrace analyze --format json`."""

    def start(job):
        trace = job.trace if isinstance(job, Job) else job
        assert trace is not None, f"no trace was left; the script said:\n{job.stderr[-3000:]}"
        finished = run([OOMTRACE, "analyze", "--format", "json", trace])
        assert finished.status in (0, 3), finished.stderr
        return Verdict(finished.status, json.loads(finished.stdout))

    return start
