"""Refusals that are easily missed: a context that finds no room. And what a guest must not leave behind."""

import sys

import pytest
from harness import GIB, MIB

FIRST_CALL = """
import ctypes, sys
runtime, driver = ctypes.CDLL("libcudart.so.13"), ctypes.CDLL("libcuda.so.1")
out, size, other = ctypes.c_void_p(), ctypes.c_size_t(), ctypes.c_size_t()
driver.cuInit(0)
calls = {
    "cudaSetDevice": lambda: runtime.cudaSetDevice(0),
    "cudaFree": lambda: runtime.cudaFree(None),
    "cudaMemGetInfo": lambda: runtime.cudaMemGetInfo(ctypes.byref(size), ctypes.byref(other)),
    "cuDevicePrimaryCtxRetain": lambda: driver.cuDevicePrimaryCtxRetain(ctypes.byref(out), 0),
    "cuCtxCreate": lambda: driver.cuCtxCreate_v2(ctypes.byref(out), 0, 0),
}
sys.exit(calls[sys.argv[1]]())
"""

TORCH_CONTEXT = "import torch\ntorch.cuda.set_device(0)\n"

FULL_CARD = {"OOMTRACE_SIM_OTHER": str(14900 * MIB), "OOMTRACE_SIM_CONTEXT": str(400 * MIB)}


@pytest.fixture
def script(tmp_path):
    def write(source, name="script.py"):
        path = tmp_path / name
        path.write_text(source)
        return path

    return write


@pytest.mark.parametrize(
    "call", ["cudaSetDevice", "cudaFree", "cudaMemGetInfo", "cuDevicePrimaryCtxRetain", "cuCtxCreate"]
)
def test_a_context_without_room_is_a_death_with_a_verdict(dryrun, analyze, script, call):
    job = dryrun(script(FIRST_CALL), call, gpu="t4", env=FULL_CARD)
    assert job.status == 2
    verdict = analyze(job)
    assert verdict.status == 3
    assert f"{call} needed more than was free" in verdict.summary
    assert verdict.device["name"] == "Tesla T4" and verdict.device["total"] > 14 * GIB
    assert verdict.device["other_processes"] == 14900 * MIB


def test_the_context_of_pytorch_is_told_from_a_tensor(dryrun, analyze, script):
    verdict = analyze(dryrun(script(TORCH_CONTEXT), gpu="t4", env=FULL_CARD))
    assert verdict.status == 3
    assert verdict.pattern == "other_process"
    assert any("the CUDA context itself" in line for line in verdict.evidence), verdict.evidence


INHERITS = """
import os, torch
kept = torch.ones(1000, device="cuda")
child = os.fork()
if child == 0:
    del kept
    raise SystemExit(0)
os.waitpid(child, 0)
"""


def test_a_forked_child_that_only_frees_what_it_inherits_leaves_no_trace(dryrun, script, tmp_path):
    job = dryrun(script(INHERITS), gpu="2GiB")
    assert job.status == 0, job.stderr
    assert list(tmp_path.glob("*.oomtrace")) == [job.trace]


NO_ROOM = """
import torch
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = torch.nn.Sequential(torch.nn.Linear(1 << 16, 1 << 14, device="meta"))
net = Net()
net.to_empty(device="cuda")
"""


@pytest.mark.skipif(sys.version_info < (3, 11), reason="a bare raise takes its own traceback there")
def test_tracebacks_show_no_frame_of_ours(dryrun, script):
    job = dryrun(script(NO_ROOM), gpu="2GiB")
    assert job.status == 1
    assert "OutOfMemoryError" in job.stderr
    assert "in to_empty" in job.stderr and "in _apply" in job.stderr
    assert "<oomtrace>" not in job.stderr


PINS_AND_ENDS = """
import ctypes
runtime, address = ctypes.CDLL("libcudart.so.13"), ctypes.c_void_p()
while runtime.cudaMalloc(ctypes.byref(address), ctypes.c_size_t(256 << 20)) == 0:
    pass
runtime.cudaMallocHost(ctypes.byref(address), ctypes.c_size_t(1 << 20))
raise SystemExit(1)
"""


def test_host_memory_that_an_error_handler_pins_is_no_sign_of_going_on(dryrun, analyze, script):
    verdict = analyze(dryrun(script(PINS_AND_ENDS), gpu="2GiB"))
    assert verdict.status == 3
    assert verdict.out_of_memory["requested"] == 256 * MIB
