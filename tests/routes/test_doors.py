"""The dlsym in front of the C library's changes nothing but the answers for CUDA's own functions."""

import os
import shutil
import subprocess
import sys

import pytest
from harness import BUILD

RECORDER = BUILD / "lib" / "liboomtrace.so"
SIMGPU = BUILD / "lib" / "simgpu"
PROGRAMS = BUILD / "bin" / "routes"
SIMULATED = [str(SIMGPU / name) for name in (SIMGPU / "preload.txt").read_text().split()]


def bare(command, *preload, simulated=False):
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("OOMTRACE", "LD_PRELOAD", "PYTORCH_"))}
    clean["LD_PRELOAD"] = ":".join([*preload, *SIMULATED] if simulated else preload)
    if simulated:
        clean |= {"LD_LIBRARY_PATH": str(SIMGPU), "OOMTRACE_SIM_GPU": "rtx4070"}
    return subprocess.run(command, env=clean, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("order", ("recorder first", "recorder last"))
def test_a_lookup_of_the_next_function_sees_its_caller(order):
    other = str(PROGRAMS / "libown_next.so")
    both = [str(RECORDER), other] if order == "recorder first" else [other, str(RECORDER)]
    without = bare([PROGRAMS / "next_client"], other)
    ran = bare([PROGRAMS / "next_client"], *both)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, without.stdout, without.stderr)
    lines = ["next 0 0", "missing 0 1 0", "not in it 0", "found 1 0", "versions 1"]
    assert ran.stdout.splitlines() == lines


HOSTS = {
    "python": [sys.executable, "-c", "import ctypes, json, ssl, sqlite3; print(ctypes.CDLL(None).getpid() > 0)"],
    "torch": [sys.executable, "-c", "import torch, triton; print((torch.ones(64, 64) @ torch.ones(64, 64)).sum())"],
    "node": ["node", "-e", "console.log(require('crypto').createHash('md5').update('x').digest('hex'))"],
    "java": ["java", "--version"],
    "bash": ["bash", "-c", "for i in 1 2 3; do echo $i | cat; done"],
    "git": ["git", "--version"],
    "gcc": ["gcc", "-x", "c", "-E", "-"],
    "clang": ["clang", "--version"],
    "perl": ["perl", "-MPOSIX", "-MList::Util=sum", "-e", "print sum(1, 2)"],
    "gdb": ["gdb", "-batch", "-ex", "print 1+1"],
    "go": ["/usr/local/go/bin/go", "version"],
    "setuid": ["su", "--version"],
    "static": [PROGRAMS / "static_program"],
}


@pytest.mark.parametrize("host", HOSTS)
def test_hosts_do_not_notice(host, tmp_path):
    command = HOSTS[host]
    if shutil.which(str(command[0])) is None:
        pytest.skip(f"no {command[0]} here")
    # PyTorch's wheel does not load without CUDA's libraries.
    simulated = host == "torch"
    without, ran = bare(command, simulated=simulated), bare(command, str(RECORDER), simulated=simulated)
    assert without.returncode == 0
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, without.stdout, without.stderr)


def test_a_library_that_binds_past_us_is_named(recorded):
    ran = recorded("deepbind_client", PROGRAMS / "libpast_the_hook.so")
    assert ran.status == 0, ran.err
    assert ran.held("device") == 1 << 20  # what it took by itself
    named = [route for route in ran.trace.facts["unknown_route"] if route["kind"] == 2]
    (route,) = [route for route in named if route["name"] == "cudaMalloc"]
    assert ran.trace.by_id["library"][route["library"]]["path"].endswith("libpast_the_hook.so")
    assert ran.trace.unknown_calls == len(named)
