"""Processes as PyTorch programs make them, and results that must not depend on the recorder."""

import signal

import pytest
from kill_scripts import CPU_TRAINING, TRAIN
from trace_file import read

STARTS = """
import multiprocessing, os, sys

def work(number):
    import torch
    torch.empty(number << 20, device="cuda")
    os._exit(0) if number == 1 else None  # one that runs no exit handler

if __name__ == "__main__":
    for number, how in enumerate(("fork", "spawn", "forkserver"), 1):
        process = multiprocessing.get_context(how).Process(target=work, args=(number,))
        process.start()
        process.join()
        assert process.exitcode == 0, (how, process.exitcode)
    work(4)
"""


def test_every_start_method(job):
    status, _, err = job.run(job.write(STARTS))
    assert status == 0, err
    traces = [read(path) for path in job.traces()]
    assert len({trace.pid for trace in traces}) == len(traces) == 4
    asked = sorted(trace.of("tensor_alloc")[0]["bytes"] for trace in traces)
    assert asked == [number << 22 for number in (1, 2, 3, 4)]


RANKS = """
import os
import torch
import torch.distributed as dist

dist.init_process_group("gloo")
rank = dist.get_rank()
model = torch.nn.Linear(64, 64).cuda()
for _ in range(3):
    model(torch.ones(4 * (rank + 1), 64, device="cuda")).sum().backward()
seen = torch.tensor([float(rank + 1)])
dist.all_reduce(seen)
assert seen.item() == 3.0
dist.destroy_process_group()
"""


def test_two_ranks(job):
    job.write(RANKS, "ranks.py")
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "ranks.py"]
    status, _, err = job.run(*launch, GLOO_SOCKET_IFNAME="lo")
    assert status == 0, err
    traces = [read(path) for path in job.traces()]
    ranks = [next(v for v in trace.facts["process"][-1]["environment"] if v.startswith("RANK=")) for trace in traces]
    assert sorted(ranks) == ["RANK=0", "RANK=1"]
    assert all(trace.of("exit") and not trace.reason for trace in traces)


CHILDREN = """
import shutil, subprocess, sys
import torch
torch.empty(1 << 20, device="cuda")
open("x.c", "w").write("int main(void) { return 0; }")
for command in (["bash", "-c", "true | cat"], ["cc", "-o", "x", "x.c"], ["./x"], ["git", "--version"],
                [sys.executable, "-c", "pass"], ["perl", "-e", "1"]):
    if shutil.which(command[0]) is None:
        continue
    out = subprocess.run(command, capture_output=True, text=True)
    assert out.returncode == 0 and "oomtrace" not in out.stderr + out.stdout, out
"""


def test_children_that_do_not_touch_cuda_leave_nothing(job):
    status, _, err = job.run(job.write(CHILDREN), OOMTRACE_VERBOSE="1")
    assert status == 0, err
    assert len(job.traces()) == 1


def test_sigterm(job):
    process = job.start(job.write(TRAIN), "-1", "never")
    first = process.stdout.readline()
    process.terminate()
    out = first + process.stdout.read()
    assert process.wait() == -signal.SIGTERM
    trace = read(job.traces()[0])
    lines = [line for line in out.splitlines() if len(line.split()) == 3]
    assert len(trace.of("tensor_alloc")) >= int(lines[-1].split()[1])


SIGNALLED = """
import hashlib, random, signal, sys, threading
import torch

taken = 0
def handler(*_):
    global taken
    taken += 1
    torch.empty(1000)
    bytearray(100000)

signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)

def fail():
    raise RuntimeError("in a thread")

model = torch.nn.Sequential(torch.nn.Linear(32, 64), torch.nn.ReLU(), torch.nn.Linear(64, 32)).cuda()
optimizer = torch.optim.AdamW(model.parameters())
for step in range(200):
    model(torch.ones(8, 32, device="cuda")).sum().backward()
    optimizer.step()
    optimizer.zero_grad()
    if step % 50 == 0:
        threading.excepthook = lambda *_: None
        thread = threading.Thread(target=fail)
        thread.start()
        thread.join()
signal.setitimer(signal.ITIMER_REAL, 0)
assert taken > 10, taken
print(torch.cuda.memory_stats()["allocation.all.allocated"])
"""


def test_signals_and_failing_threads_in_a_training(job):
    status, out, err = job.run(job.write(SIGNALLED))
    assert status == 0, err
    trace = read(job.traces()[0])
    assert len(trace.of("tensor_alloc")) + trace.dropped >= int(out)
    assert [phase["kind"] for phase in trace.of("phase")].count(4) == 200


# What a job can see of itself: losses, parameters, random states, the allocator's own statistics. On the simulated GPU
# kernels compute nothing, so numbers come from the CPU and the allocator's from the device.
STATE = """
import hashlib, random
import numpy, torch

def digest(value):
    return hashlib.sha256(repr(value).encode()).hexdigest()[:16]

def tensor_digest(tensor):
    return hashlib.sha256(tensor.detach().cpu().contiguous().numpy().tobytes()).hexdigest()[:16]

torch.manual_seed(5); random.seed(5); numpy.random.seed(5)
cpu = torch.nn.Sequential(torch.nn.Linear(16, 32), torch.nn.Dropout(0.2), torch.nn.GELU(), torch.nn.Linear(32, 4))
device = torch.nn.TransformerEncoderLayer(64, 4, 128, batch_first=True).cuda()
optimizers = [torch.optim.AdamW(model.parameters()) for model in (cpu, device)]
for step in range(20):
    loss = cpu(torch.randn(8, 16) + random.random()).square().mean()
    loss.backward()
    device(torch.randn(2, 8, 64).cuda()).sum().backward()
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad()
    print(step, loss.item().hex())
    if step == 10:
        try:
            torch.empty(1 << 40, device="cuda")
        except torch.OutOfMemoryError as error:
            print(str(error).split("(")[0].split(" including")[0])
print("parameters", [tensor_digest(p) for p in cpu.parameters()])
print("state", digest([tensor_digest(v) for s in optimizers[0].state.values() for v in s.values()]))
print("random", tensor_digest(torch.get_rng_state()), digest(random.getstate()), digest(numpy.random.get_state()))
print("cuda random", tensor_digest(torch.cuda.get_rng_state()))
stats = torch.cuda.memory_stats()
print("allocator", sorted(stats.items()))
print("device", torch.cuda.mem_get_info())
segments = torch.cuda.memory_snapshot()
print("segments", [(s["total_size"], s["allocated_size"], [b["size"] for b in s["blocks"]]) for s in segments])
print("graph", type(loss.grad_fn).__name__, torch.is_grad_enabled(), torch.get_num_threads())
"""


@pytest.mark.parametrize("script", [CPU_TRAINING, STATE], ids=["cpu", "device"])
def test_results_are_bit_identical(job, script):
    name = job.write(script)
    with_recorder, without = job.run(name), job.run(name, record=False)
    assert with_recorder[0] == without[0] == 0, with_recorder[2]
    assert with_recorder[1].splitlines() == without[1].splitlines()
    assert len(with_recorder[1].splitlines()) > 20
