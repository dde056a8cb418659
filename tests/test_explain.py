"""`oomtrace explain`: what real messages of PyTorch on the simulated GPU say, against PyTorch's own counters."""

import json
import subprocess
import sys

import pytest
from harness import GIB, MIB, OOMTRACE, SCRIPTS, run

SCRIPT = SCRIPTS / "explain_figures.py"


def explain(text, *options):
    command = [str(OOMTRACE), "explain", *options]
    return subprocess.run(command, input=text, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    ("how", "cause", "options"),
    [
        ("full", "full", []),
        ("full", "other_processes", ["--other", "600MiB"]),
        ("limit", "memory_limit", []),
        ("larger_than_card", "larger_than_card", []),
        ("idle_cache", "idle_cache", []),
    ],
)
def test_a_real_message(how, cause, options, tmp_path):
    dryrun = [OOMTRACE, "dryrun", "--gpu", "1GiB", "--context", "100MiB", *options, "--no-record", "--"]
    died = json.loads(run([*dryrun, sys.executable, SCRIPT, how], cwd=tmp_path).stdout)
    log = tmp_path / "train.log"
    log.write_text(f"step 3\ntorch.OutOfMemoryError: {died['message']}\n")
    job = run([OOMTRACE, "explain", "--format", "json", log])
    assert job.status == 3, job.stderr
    (message,) = json.loads(job.stdout)["messages"]
    # Two decimals of a GiB are 5 MiB; the free bytes are read anew after the exception.
    for figure in ("total", "free", "allocated", "reserved"):
        assert abs(message[figure] - died[figure]) <= 11 * MIB, (figure, message, died)
    assert message["total"] == 1 * GIB
    known = {cause, "outside_pytorch"} if cause == "other_processes" else {cause}  # the list of processes may be empty
    assert message["cause"] in known, (message, died["message"])


def test_text_from_a_pipe_and_statuses(tmp_path):
    job = explain("RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`\n")
    assert job.returncode == 3
    assert "cuBLAS" in job.stdout
    assert "What to do" in job.stdout
    assert explain("epoch 1: loss 0.3\n").returncode == 0
    assert json.loads(explain("", "--format", "json").stdout) == {"messages": []}
    missing = run([OOMTRACE, "explain", tmp_path / "none.log"])
    assert missing.status == 1
    assert "cannot read" in missing.stderr
    assert run([OOMTRACE, "explain", tmp_path]).status == 1


def test_any_bytes_from_a_pipe():
    noise = bytes(range(256)) * 400
    job = subprocess.run([OOMTRACE, "explain"], input=noise, capture_output=True, timeout=60)
    assert job.returncode == 0
    assert b"No out-of-memory message" in job.stdout
