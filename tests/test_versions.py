"""The oldest, the pinned and the newest PyTorch: all of their allocations, with shapes and stacks."""

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
    assert result.refused == "OutOfMemoryError"
    assert result.refusals >= 1  # 2.15 gives back what it can and asks the device once more
    assert result.refused_shape
