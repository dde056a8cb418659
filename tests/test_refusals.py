"""Refusals that are easily missed: a context that finds no room, an allocator's own limit, a thread that dies alone;
and what a guest must not leave behind."""

import subprocess
import sys

import pytest
from harness import BUILD, GIB, MIB, REPOSITORY, WarmInterpreter

sys.path.insert(0, str(REPOSITORY / "tests" / "kill"))
from trace_file import read  # noqa: E402

CUDA = BUILD / "cuda" / "nvidia" / "cu13"

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

MORE_CONTEXTS = """
import ctypes
driver, context = ctypes.CDLL("libcuda.so.1"), ctypes.c_void_p()
driver.cuInit(0)
while driver.cuCtxCreate_v2(ctypes.byref(context), 0, 0) == 0:
    pass
raise SystemExit(1)
"""


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
    assert verdict.pattern == "other_process"
    assert f"the CUDA context that {call} makes did not fit" in verdict.summary
    assert verdict.device["name"] == "Tesla T4" and verdict.device["total"] > 14 * GIB
    assert verdict.device["other_processes"] == 14900 * MIB


def test_the_context_of_pytorch_is_told_from_a_tensor(dryrun, analyze, script):
    verdict = analyze(dryrun(script(TORCH_CONTEXT), gpu="t4", env=FULL_CARD))
    assert verdict.status == 3
    assert verdict.pattern == "other_process"
    assert "the CUDA context that cudaSetDevice makes did not fit" in verdict.summary


def test_contexts_that_fill_the_card_are_counted(dryrun, analyze, script):
    verdict = analyze(dryrun(script(MORE_CONTEXTS), gpu="2GiB", env={"OOMTRACE_SIM_CONTEXT": str(500 * MIB)}))
    assert verdict.status == 3
    assert verdict.pattern == "at_start"
    assert any("This process had made at least 3 contexts before" in line for line in verdict.evidence), (
        verdict.evidence
    )
    assert not any("not recorded" in line for line in verdict.unknown), verdict.unknown


LIMITED = """
#include <cuda_runtime_api.h>
#include <stdexcept>
#include <sys/types.h>
static ssize_t held;
extern "C" void* take(ssize_t size, int, cudaStream_t) {
  void* memory = nullptr;
  if (held + size > (64 << 20)) {
    if (THROWS) throw std::runtime_error("the pool is at its limit");
    return nullptr;
  }
  if (cudaMalloc(&memory, size) != cudaSuccess) return nullptr;
  held += size;
  return memory;
}
extern "C" void give(void* memory, ssize_t size, int, cudaStream_t) { held -= size; cudaFree(memory); }
"""

WITH_ALLOCATOR = """
import sys, torch
allocator = torch.cuda.memory.CUDAPluggableAllocator(sys.argv[1], "take", "give")
torch.cuda.memory.change_current_allocator(allocator)
model = torch.nn.Linear(512, 512).cuda()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
kept = []
for _ in range(100):
    kept.append(torch.ones(2048, 512, device="cuda"))
    model(kept[-1]).sum().backward()
    optimizer.step()
    optimizer.zero_grad()
"""


@pytest.mark.parametrize("throws", [0, 1], ids=["null", "exception"])
def test_an_allocator_that_refuses_by_a_limit_of_its_own(dryrun, analyze, script, tmp_path, throws):
    library = tmp_path / "limited.so"
    command = ["g++", "-shared", "-fPIC", f"-DTHROWS={throws}", f"-I{CUDA}/include", "-o", library]
    subprocess.run([*command, script(LIMITED, "limited.cc")], check=True)
    program = script(WITH_ALLOCATOR)
    verdict = analyze(dryrun(program, library, gpu="2GiB"))
    assert verdict.status == 3
    assert verdict.pattern == "gradual_leak"
    assert verdict.out_of_memory["requested"] == 4 * MIB
    assert (
        verdict.culprit["line"]
        == program.read_text().splitlines().index('    kept.append(torch.ones(2048, 512, device="cuda"))') + 1
    )
    assert any("refused by itself" in line for line in verdict.evidence), verdict.evidence


# A worker dies of its own request while the main thread trains on; `caught`: it goes on without it, and ends.
WORKER = """
import sys, threading, torch
model = torch.nn.Linear(512, 512).cuda()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

def train():
    model(torch.ones(64, 512, device="cuda")).sum().backward()
    optimizer.step()
    optimizer.zero_grad()

def work():
    try:
        taken = [torch.empty(1 << 20, device="cuda") for _ in range(10000)]
    except torch.cuda.OutOfMemoryError:
        if sys.argv[1] == "dies":
            raise

train()
worker = threading.Thread(target=work, name="indexer")
worker.start()
worker.join()
for _ in range(5):
    train()
"""


@pytest.fixture(scope="module")
def warm(tmp_path_factory):
    interpreter = WarmInterpreter(tmp_path_factory.mktemp("warm"))
    yield interpreter
    interpreter.close()


def test_a_thread_that_dies_of_it_while_the_process_goes_on(warm, analyze, script):
    job = warm.run(script(WORKER), "dies", capacity=2 * GIB)
    assert job.status == 0, job.stderr
    verdict = analyze(job)
    assert verdict.status == 3
    assert "indexer" in verdict.out_of_memory["thread"]
    (ended,) = [line for line in verdict.evidence if "The error ended thread" in line]
    assert "(indexer); the process went on and ended with status 0" in ended
    assert verdict.culprit["line"] == 13


def test_a_thread_that_caught_it_did_not_die_of_it(warm, analyze, script):
    verdict = analyze(warm.run(script(WORKER), "caught", capacity=2 * GIB))
    assert verdict.status == 0
    assert verdict.pattern == "healthy"


LOADED = """
import sys, torch
model = torch.nn.Sequential(*[torch.nn.Linear(1024, 1024, bias=False) for _ in range(300)])
model.requires_grad_(sys.argv[1] == "trained")
model[0].to("cuda")  # arrives whole: no part of the move that fails
model.to("cuda", torch.bfloat16 if sys.argv[1] == "cast" else None)
"""


@pytest.mark.parametrize("how", ["trained", "run only", "cast"])
def test_what_of_a_model_had_not_arrived_is_told(warm, analyze, script, how):
    job = warm.run(script(LOADED), how, capacity=700 * MIB)
    assert job.status == 1, job.stderr
    verdict = analyze(job)
    (line,) = [line for line in verdict.evidence if "still to come" in line]
    arrived = verdict.categories["parameter"]
    one = (2 if how == "cast" else 4) * MIB
    still = (300 - arrived // one) * 4 * MIB
    assert f"{arrived / MIB:.2f} MiB of its parameters" in line
    assert f"{still / MIB:.2f} MiB more" in line or f"{still / GIB:.2f} GiB more" in line
    assert ("None of it requires gradients" in line) == (how != "trained")


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


THREADS_IN_TURN = """
import ctypes, threading
runtime = ctypes.CDLL("libcudart.so.13")
def take(count):
    ctypes.CDLL(None).prctl(15, b"loader %d" % count, 0, 0, 0)  # PR_SET_NAME
    print(threading.get_native_id())
    for _ in range(count):
        address = ctypes.c_void_p()
        runtime.cudaMalloc(ctypes.byref(address), ctypes.c_size_t(1 << 20))
for count in (2, 3):
    thread = threading.Thread(target=take, args=(count,))
    thread.start()
    thread.join()
"""


def test_a_thread_that_takes_over_anothers_chunk_has_its_own_number(dryrun, analyze, script):
    job = dryrun(script(THREADS_IN_TURN), gpu="2GiB")
    first, second = job.stdout.split()
    assert first != second
    owners = analyze(job).owners
    assert sum(owner["tensors"] for owner in owners) == 5
    names = {fact["thread"]: fact["name"] for fact in read(job.trace).facts["thread_name"]}
    assert names == {int(first): "loader 2", int(second): "loader 3"}
