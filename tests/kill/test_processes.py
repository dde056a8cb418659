"""Which processes leave a trace, under what name, and what happens where none can be written."""

import json
import os
import resource
import subprocess
import sys

import pytest
from harness import OOMTRACE
from kill_scripts import CPU_TRAINING, LEAK, TRAIN
from trace_file import read

STATE_RECORDING = 2


def test_a_process_without_cuda_leaves_no_file(job):
    status, _, err = job.run("-c", "import torch; torch.ones(3).sum(); torch.cuda.is_available()")
    assert (status, job.traces()) == (0, [])
    assert "oomtrace" not in err
    assert job.run("!", "/bin/sh", "-c", "ls > /dev/null")[0] == 0
    assert job.traces() == []


def test_data_loader_workers_leave_no_file(job):
    script = """
import torch
from torch.utils.data import DataLoader
data = [torch.ones(4) * i for i in range(32)]
for batch in DataLoader(data, batch_size=4, num_workers=2):
    batch.cuda().sum()
print("done")
"""
    status, out, _ = job.run(job.write(script))
    assert (status, out.strip()) == (0, "done")
    (path,) = job.traces()
    assert read(path).state == STATE_RECORDING


def test_fork_before_cuda_gives_each_child_its_own(job):
    script = """
import os
import torch
for _ in range(2):
    if os.fork() == 0:
        torch.empty(1 << 20, device="cuda")
        os._exit(0)
for _ in range(2):
    os.wait()
torch.empty(1 << 21, device="cuda")
"""
    assert job.run(job.write(script))[0] == 0
    traces = [read(path) for path in job.traces()]
    assert len({trace.pid for trace in traces}) == 3
    assert sorted(sum(event["bytes"] for event in trace.of("tensor_alloc")) for trace in traces) == [
        4 << 20,
        4 << 20,
        8 << 20,
    ]


def test_module_and_launcher(job):
    job.write(TRAIN, "trainer.py")
    assert job.run("-m", "trainer", "2", "end")[0] == 0
    (path,) = job.traces()
    assert path.name.startswith("trainer.")
    path.unlink()
    launch = ["-m", "torch.distributed.run", "--nproc-per-node=1", "--master-port=0", "trainer.py", "2", "end"]
    status, _, err = job.run(*launch)
    assert status == 0, err
    (path,) = job.traces()
    assert path.name.startswith("trainer.")
    environment = read(path).facts["process"][-1]["environment"]
    assert "RANK=0" in environment and "WORLD_SIZE=1" in environment


def test_explicit_file_and_directory(job):
    script = job.write(TRAIN)
    for _ in range(2):
        assert job.run(script, "1", "end", OOMTRACE_FILE="x/run.oomtrace")[0] == 0
    assert job.traces() == []  # the directory is not there: not recorded, and the job is unharmed
    (job.directory / "x").mkdir()
    for _ in range(2):
        assert job.run(script, "1", "end", OOMTRACE_FILE="x/run.oomtrace")[0] == 0
    names = [path.name for path in job.traces(job.directory / "x")]
    assert len(names) == 2 and "run.oomtrace" in names and all(name.startswith("run.") for name in names)
    assert job.run(script, "1", "end", OOMTRACE_DIR=str(job.directory / "x"))[0] == 0
    assert len(job.traces(job.directory / "x")) == 3


def test_unwritable_directory_is_one_line(job):
    status, out, err = job.run(job.write(TRAIN), "2", "end", OOMTRACE_DIR="/proc/no")
    assert status == 0 and len(out.splitlines()) == 3
    (line,) = [line for line in err.splitlines() if "oomtrace" in line]
    assert line.startswith("oomtrace: not recording: cannot create /proc/no/train.")


def test_off(job):
    status, _, err = job.run(job.write(LEAK), OOMTRACE="0")
    assert status == 1 and "oomtrace" not in err
    assert job.traces() == []


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small file system")
@pytest.mark.parametrize("size", ["100k", "300k"])
def test_full_disk(job, size):
    disk = job.directory / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", disk], check=False).returncode != 0:
        pytest.skip("cannot mount")
    try:
        status, _, err = job.run(job.write(TRAIN), "300", "end", OOMTRACE_DIR=str(disk))
        assert status == 0
        (path,) = job.traces(disk)
        trace = read(path)
        lines = [line for line in err.splitlines() if "oomtrace" in line]
        if size == "300k":  # folded into what there is
            assert (trace.recycled, trace.dropped, lines) == (0, 0, [])
            return
        assert trace.dropped > 0
        (line,) = lines
        assert "No space left on device" in line and path.name in line and "OOMTRACE_DIR" in line
        shown = subprocess.run([OOMTRACE, "analyze", path], capture_output=True, text=True)
        assert "Incomplete trace" in shown.stdout and "Healthy" not in shown.stdout
    finally:
        subprocess.run(["umount", disk], check=True)


def test_file_size_limit_does_not_kill(job):
    script = job.write(TRAIN)
    limited = f"ulimit -f 1024; exec {sys.executable} {script} 300 end"  # 1 MiB: SIGXFSZ lies beyond
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    status, _, _ = job.run("!", "/bin/bash", "-c", limited)
    assert status == 0
    (path,) = job.traces()
    assert path.stat().st_size <= 1 << 20
    read(path)


def test_results_are_the_same(job):
    script = job.write(CPU_TRAINING)
    with_recorder, without = job.run(script), job.run(script, record=False)
    assert with_recorder[0] == without[0] == 0
    assert with_recorder[1] == without[1]
    assert len(with_recorder[1].splitlines()) == 33


def test_the_same_pickles_and_classes(job):
    script = """
import pickle, torch
torch.empty(1, device="cuda")
for _ in range(1000):
    pass
model = torch.nn.Linear(3, 3)
with torch.no_grad():
    for p in model.parameters():
        p.fill_(1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
print(sorted(vars(optimizer)), optimizer.state_dict(), model.state_dict(), model._forward_hooks)
print(pickle.dumps(torch.nn.Module.train), torch.nn.Module.train.__qualname__, torch.nn.Module.train.__module__)
model.eval()
print(sorted(vars(model)), model.training)
"""
    name = job.write(script)
    assert job.run(name)[:2] == job.run(name, record=False)[:2]


ENDS = """
import os, signal, subprocess, sys
import torch

torch.ones(1 << 20, device="cuda")
try:
    subprocess.run(["/no/such/program"])  # tried in a child of vfork, which ends by _exit
except FileNotFoundError:
    pass
if os.fork() == 0:
    os._exit(9)  # has recorded nothing
os.wait()
if sys.argv[1] == "handler":
    signal.signal(signal.SIGUSR1, lambda *_: os._exit(7))
    os.kill(os.getpid(), signal.SIGUSR1)
elif sys.argv[1] == "now":
    os._exit(7)
elif sys.argv[1] == "out of memory":
    try:
        torch.empty(1 << 40, device="cuda")
    except torch.OutOfMemoryError:
        os._exit(7)
elif sys.argv[1] == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
"""


KILLED = (
    "not in the trace: killed by a signal, ended past the C library, replaced by another program (exec), or copied "
    "while it ran"
)


@pytest.mark.parametrize(
    ("how", "status", "ended"),
    [
        ("now", 7, "exit 7 by _exit, without exit handlers"),
        ("out of memory", 7, "exit 7 by _exit, without exit handlers"),
        ("handler", 7, "exit 7 by _exit, without exit handlers"),
        ("kill", -9, KILLED),
        ("well", 0, "exit 0"),
    ],
)
def test_an_end_without_exit_handlers_is_known(job, how, status, ended):
    ran, _, err = job.run(job.write(ENDS), how)
    assert ran == status, err
    (path,) = job.traces()
    assert err.count("oomtrace: CUDA out of memory was recorded in ") == (how == "out of memory")
    assert read(path).exit_now == (7 if "_exit" in ended else None)
    shown = subprocess.run([OOMTRACE, "analyze", "--format", "json", path], capture_output=True)
    assert json.loads(shown.stdout)["trace"]["ended"] == ended
