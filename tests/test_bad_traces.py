"""Traces that are missing, foreign or damaged: one clear line and the right status, and what can be read is read."""

import json
import random

import pytest
from harness import OOMTRACE, SCRIPTS, run

HEADER = 4096
CHUNK = 65536


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """The bytes of a real trace of a job that died."""
    import sys

    folder = tmp_path_factory.mktemp("good")
    trace = folder / "good.oomtrace"
    script = SCRIPTS / "at_start_weights.py"
    run([OOMTRACE, "dryrun", "--gpu", "1GiB", "-o", trace, "--", sys.executable, script], cwd=folder)
    return trace.read_bytes()


def analyze(tmp_path, content):
    trace = tmp_path / "bad.oomtrace"
    trace.write_bytes(content)
    return run([OOMTRACE, "analyze", "--format", "json", trace]), trace


def assert_one_clear_line(job, trace):
    lines = job.stderr.strip().splitlines()
    assert len(lines) == 1, job.stderr
    assert lines[0].startswith("oomtrace: ")
    assert str(trace) in lines[0]
    assert job.stdout == ""


def test_the_trace_itself_is_fine(tmp_path, good):
    job, _ = analyze(tmp_path, good)
    assert job.status == 3
    assert json.loads(job.stdout)["trace"]["damage"] == []


def test_missing(tmp_path):
    trace = tmp_path / "none.oomtrace"
    job = run([OOMTRACE, "analyze", trace])
    assert job.status == 1
    assert_one_clear_line(job, trace)


def test_empty(tmp_path):
    job, trace = analyze(tmp_path, b"")
    assert job.status == 2
    assert_one_clear_line(job, trace)


@pytest.mark.parametrize("content", [b"PK\x03\x04" * 5000, b"\x7fELF" + bytes(9000), b"a,b,c\n1,2,3\n" * 1000])
def test_foreign(tmp_path, content):
    job, trace = analyze(tmp_path, content)
    assert job.status == 1
    assert_one_clear_line(job, trace)


def test_a_folder_is_no_trace(tmp_path):
    job = run([OOMTRACE, "analyze", tmp_path])
    assert job.status == 1
    assert_one_clear_line(job, tmp_path)


@pytest.mark.parametrize("size", [1, 7, 8, 100, HEADER - 1])
def test_truncated_within_the_header(tmp_path, good, size):
    job, trace = analyze(tmp_path, good[:size])
    assert job.status in (1, 2)
    assert_one_clear_line(job, trace)


def test_truncated_later_keeps_the_readable_prefix(tmp_path, good):
    chunks = range(1, max(2, (len(good) - HEADER) // CHUNK), max(1, (len(good) - HEADER) // CHUNK // 8))
    read = 0
    for chunk in chunks:
        job, trace = analyze(tmp_path, good[: HEADER + chunk * CHUNK - 100])
        assert job.status in (0, 2, 3), job.stderr
        if job.status == 2:
            assert_one_clear_line(job, trace)
        else:
            json.loads(job.stdout)
            read += 1
    assert read > 0


def test_zeros_after_the_header(tmp_path, good):
    job, trace = analyze(tmp_path, good[:HEADER] + bytes(10 * CHUNK))
    assert job.status == 2
    assert_one_clear_line(job, trace)


def test_flipped_bits(tmp_path, good):
    """Seeded: the same 40 places each run. Never a crash, always a documented status, text or JSON whole."""
    dice = random.Random(20)
    used = good[: HEADER + 6 * CHUNK]
    for _ in range(40):
        damaged = bytearray(good)
        damaged[dice.randrange(len(used))] ^= 1 << dice.randrange(8)
        job, trace = analyze(tmp_path, bytes(damaged))
        assert job.status in (0, 1, 2, 3), job.stderr
        if job.status in (0, 3):
            json.loads(job.stdout)
        else:
            assert_one_clear_line(job, trace)


def test_one_bad_trace_among_good_ones(tmp_path, good):
    (tmp_path / "good.oomtrace").write_bytes(good)
    (tmp_path / "empty.oomtrace").write_bytes(b"")
    traces = [tmp_path / "empty.oomtrace", tmp_path / "good.oomtrace"]
    job = run([OOMTRACE, "analyze", "--format", "json", *traces])
    assert job.status == 2
    assert [report["pattern"] for report in json.loads(job.stdout)] == ["at_start"]
    assert "empty.oomtrace" in job.stderr
