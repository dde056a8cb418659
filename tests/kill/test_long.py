"""A trace of many events is analysed in bounded memory, and whoever waits at a terminal sees how far it has come."""

import json
import os
import pty
import subprocess

import pytest
from conftest import BUILD, RECORDER

MILLIONS = 16  # of events: a second and more to read on any machine


@pytest.fixture(scope="module")
def trace(tmp_path_factory):
    folder = tmp_path_factory.mktemp("long")
    subprocess.run(
        [BUILD / "bin" / "kill_host", "endless", str(MILLIONS)],
        env={"LD_PRELOAD": str(RECORDER), "OOMTRACE_DIR": str(folder)},
        stdout=subprocess.DEVNULL,
        check=True,
        timeout=120,
    )
    return next(folder.glob("*.oomtrace"))


def test_memory_does_not_grow_with_the_events(trace):
    out = subprocess.run(
        ["bash", "-c", f"ulimit -v {1 << 20} && exec '{BUILD}/bin/oomtrace' analyze --format json '{trace}'"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert out.returncode == 0, out.stderr
    assert out.stderr == ""  # no terminal, no progress
    report = json.loads(out.stdout)
    assert report["trace"]["events"] == MILLIONS * 1_000_000 + 3
    assert report["trace"]["tensors_left_out"] > MILLIONS * 1_000_000 / 2 - 3_000_000
    assert report["peak"]["bytes"] == 512


def test_a_terminal_sees_the_progress(trace):
    mine, its = pty.openpty()
    job = subprocess.Popen([BUILD / "bin" / "oomtrace", "analyze", trace], stdout=subprocess.DEVNULL, stderr=its)
    os.close(its)
    seen = b""
    try:
        while piece := os.read(mine, 4096):
            seen += piece
    except OSError:  # the other end is closed
        pass
    assert job.wait(timeout=120) == 0
    os.close(mine)
    assert b"Reading " in seen and b" %" in seen and b"[#" in seen
    assert seen.endswith(b"\r\x1b[K")  # it leaves no line behind
