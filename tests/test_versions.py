"""The oldest, the pinned and the newest PyTorch: all of their allocations, with shapes and stacks."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from harness import OOMTRACE

sys.path.insert(0, str(Path(__file__).parent / "versions"))
import matrix  # noqa: E402


@pytest.fixture(params=["2.4.1", "2.11.0", "2.15.0"])
def torch(request):
    try:
        return request.param, matrix.environment(request.param, sys.executable)
    except matrix.Unreachable as error:
        pytest.skip(f"PyTorch {request.param} cannot be fetched: {error}")


@pytest.mark.xdist_group("versions")
def test_every_allocation_has_a_shape_or_a_name(torch, tmp_path):
    version, interpreter = torch
    result = matrix.run(interpreter, version, "native", OOMTRACE, tmp_path)
    assert result.recorded == result.counted
    assert result.shaped >= 0.99
    assert result.told == 1.0
    assert result.stacked >= 0.99
    assert result.refused == "OutOfMemoryError"
    assert (result.refusals, result.refused_shape) == (1, True)
    replayed, of = map(int, result.fidelity.split(" of "))
    assert replayed == of > 0


@pytest.mark.xdist_group("versions")
def test_a_backend_that_reports_nothing_is_seen_at_the_device(torch, tmp_path):
    version, interpreter = torch
    result = matrix.run(interpreter, version, "cudaMallocAsync", OOMTRACE, tmp_path)
    assert result.recorded > 500
    assert result.shaped >= 0.99
    assert result.told == 1.0
    assert result.refused == "OutOfMemoryError"
    assert result.refusals >= 1  # 2.15 gives back what it can and asks the device once more
    assert result.refused_shape


@pytest.mark.xdist_group("versions")
@pytest.mark.parametrize("backend", ["native", "cudaMallocAsync"])
def test_what_pytorch_refuses_by_itself_is_seen_with_its_words(torch, backend, tmp_path):
    """A memory fraction and a size beyond 1 EB: the device is not asked, and the latter is not reported either."""
    version, interpreter = torch
    path = tmp_path / "limits.oomtrace"
    command = [OOMTRACE, "dryrun", "--gpu", "rtx4070", "-o", path, "--", interpreter, matrix.HERE / "limits.py"]
    variables = os.environ | {"PYTORCH_CUDA_ALLOC_CONF": f"backend:{backend}"}
    job = subprocess.run(command, capture_output=True, text=True, env=variables)
    assert job.stdout.count("OutOfMemoryError") == 2, job.stderr
    done = subprocess.run([OOMTRACE, "analyze", "--format", "json", path], capture_output=True, text=True)
    report = json.loads(done.stdout)
    refusal = report["out_of_memory"]
    assert refusal["caught_before"] == 2
    assert refusal["shape"] == [3, 1 << 28]
    assert refusal["stack"][0]["line"] == 16
    assert refusal["message"] and refusal["message"] in job.stderr
    if version != "2.4.1":  # which names no limit
        assert refusal["limit"] == pytest.approx(0.25 * report["device"]["total"], rel=0.01)
        assert any("set_per_process_memory_fraction" in sentence for sentence in report["evidence"])
    trace = matrix.trace_file.read(path)
    assert "more than 1EB" in trace.strings[trace.of("refusal_text")[1]["text"]]
