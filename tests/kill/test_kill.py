"""A process that dies at any moment leaves a trace with everything that it had committed."""

import random
import signal
import struct
import time

import pytest
from kill_scripts import LONG, TRAIN
from trace_file import read


def confirmed(out):
    """Blocks handed out and taken back, as the last whole line says."""
    lines = [line for line in out.splitlines() if len(line.split()) == 3]
    return tuple(int(word) for word in lines[-1].split()[1:])


def check(trace, out):
    allocated, freed = confirmed(out)
    assert len(trace.of("tensor_alloc")) >= allocated
    assert len(trace.of("tensor_free")) >= freed
    assert (trace.dropped, trace.recycled, trace.reason) == (0, 0, "")
    trace.live()
    steps = [phase for phase in trace.of("phase") if phase["kind"] == 4]
    assert len(steps) >= len(out.splitlines()) - 1


@pytest.mark.parametrize(
    ("how", "status"),
    [("end", 0), ("os_exit", 7), ("segfault", -signal.SIGSEGV), ("abort", -signal.SIGABRT)],
)
def test_death_by(job, how, status):
    result, out, _ = job.run(job.write(TRAIN), "25", how)
    assert result == status
    (path,) = job.traces()
    check(read(path), out)


@pytest.mark.parametrize("seed", range(3))
def test_sigkill_at_a_random_moment(job, seed):
    process = job.start(job.write(TRAIN), "-1", "never")
    first = process.stdout.readline()
    time.sleep(random.Random(seed).uniform(0, 0.4))
    process.kill()
    out = first + process.stdout.read()
    process.wait()
    (path,) = job.traces()
    check(read(path), out)


def test_exit_status_is_in_the_trace(job):
    _, out, err = job.run(job.write(TRAIN), "3", "end")
    trace = read(job.traces()[0])
    assert [event.get("status", 0) for event in trace.of("exit")] == [0]
    assert "oomtrace" not in err  # silent: nothing ran out of memory
    assert confirmed(out)[0] == len(trace.of("tensor_alloc"))  # not one more and not one less


def test_a_checksum_covers_what_the_main_thread_wrote(job):
    job.run(job.write(TRAIN), "3", "end")
    data = job.traces()[0].read_bytes()
    sealed = {1: [], 2: []}  # by kind: interned data, events
    for at in range(4096, len(data), 65536):
        magic, kind, flags = struct.unpack_from("<IHH", data, at)
        if magic == 0x4843544F and kind in sealed:
            sealed[kind].append(flags & 1)
    assert all(sealed[1]) and any(sealed[2]), sealed


def test_a_long_run_keeps_its_live_set_and_its_steps(job):
    status, out, _ = job.run(job.write(LONG), OOMTRACE_BUDGET="3MiB")
    assert status == -signal.SIGKILL
    steps, allocated = (int(word) for word in out.split())
    (path,) = job.traces()
    assert path.stat().st_size <= 3 << 20
    trace = read(path)
    assert trace.folded > 100000 and (trace.recycled, trace.dropped) == (0, 0)
    assert sum(trace.live().values()) == allocated
    kinds = [phase["kind"] for phase in trace.of("phase")]
    assert [kinds.count(kind) for kind in (1, 2, 3, 4)] == [steps] * 4
    named = {trace.string(role["name"]) for role in trace.of("tensor_role") if role["role"] in (1, 4)}
    assert {"0.weight", "19.bias", "7.weight: exp_avg"} <= named
