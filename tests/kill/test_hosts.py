"""What host programs do to a guest in their process (hosts/host.c): close its descriptors, fork, change the root, take
signals in the middle of a hook. The host must not notice the recorder, and the trace must be whole."""

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from conftest import BUILD, RECORDER

HOST = BUILD / "bin" / "kill_host"
COUNTS = BUILD / "bin" / "trace_counts"
TIMEOUT = 60
FIRST_CHUNKS = 9  # what is reserved at the start


class Hosted:
    def __init__(self, directory):
        self.directory = directory
        self.traces_at = directory / "traces"
        self.traces_at.mkdir()

    def run(self, mode, number=0, preload=(RECORDER,), before=None, command=(), **environment):
        """The finished process; its stdout is what the mode says."""
        return subprocess.run(
            [*command, str(HOST), mode, str(number)],
            cwd=self.directory,
            env={
                "PATH": os.environ["PATH"],
                "LD_PRELOAD": ":".join(map(str, preload)),
                "OOMTRACE_DIR": str(self.traces_at),
                **environment,
            },
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            preexec_fn=before,
            check=False,
        )

    def counts(self):
        """What is in each trace, by process id."""
        found = []
        for path in self.traces_at.glob("*.oomtrace"):
            out = subprocess.run([COUNTS, path], capture_output=True, text=True, check=True).stdout
            found.append(json.loads(out) | {"path": path})
        return found

    def the_trace(self):
        (trace,) = self.counts()
        return trace


@pytest.fixture
def host(tmp_path):
    if not HOST.exists():
        pytest.fail(f"{HOST} is missing: build first, or set OOMTRACE_BUILD")
    return Hosted(tmp_path)


def blocks(finished):
    """How many blocks the host says it was given, and gave back."""
    assert (finished.returncode, finished.stderr) == (0, ""), finished.stderr
    return int(finished.stdout.split()[1])


def check_whole(trace, expected):
    """Everything is there, and nothing else."""
    assert (trace["allocs"], trace["frees"]) == (expected, expected)
    assert (trace["dropped"], trace["recycled"], trace["damage"], trace["unborn_frees"], trace["live"]) == (0,) * 5


@pytest.mark.parametrize(
    "mode",
    [
        "close_before",
        "close_during",
        "replace_descriptors",
        pytest.param("new_root", marks=pytest.mark.skipif(os.geteuid() != 0, reason="chroot needs root")),
        pytest.param("drop_privileges", marks=pytest.mark.skipif(os.geteuid() != 0, reason="setuid needs root")),
        "spawn_cleared",
        "small_stacks",
    ],
)
def test_nothing_is_lost(host, mode):
    expected = blocks(host.run(mode))
    trace = host.the_trace()
    check_whole(trace, expected)
    if mode in ("close_during", "replace_descriptors", "new_root", "drop_privileges"):
        assert trace["chunks"] > FIRST_CHUNKS  # the file grew after the descriptor was lost
    assert trace["path"].stat().st_mode & 0o777 == 0o600


def test_standard_streams_that_are_closed_are_not_ours(host):
    finished = host.run("no_standard_streams")
    assert finished.returncode == 0
    check_whole(host.the_trace(), 1000)


def test_directory_that_is_removed(host):
    finished = host.run("remove_directory")
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, "alive\n", "")


def test_forked_children_while_recording(host):
    expected = blocks(host.run("fork_live", 5))
    traces = sorted(host.counts(), key=lambda trace: trace["allocs"])
    assert len({trace["pid"] for trace in traces}) == 6
    for trace in traces[:5]:
        check_whole(trace, 500)
        assert trace["exits"] == 1  # the handler that it inherited and its own are one
    check_whole(traces[5], expected)


def test_raw_clone(host):
    expected = blocks(host.run("raw_clone"))
    child, parent = sorted(host.counts(), key=lambda trace: trace["allocs"])
    check_whole(child, 500)
    check_whole(parent, expected)


def test_vfork_and_exec(host):
    check_whole_parent = blocks(host.run("vfork_exec", 20))
    check_whole(host.the_trace(), check_whole_parent)


def test_daemon(host):
    finished = host.run("daemonize")
    assert (finished.returncode, finished.stdout) == (0, "daemon\n")
    trace = host.the_trace()
    assert (trace["allocs"], trace["damage"], trace["dropped"]) == (1000, 0, 0)


@pytest.mark.parametrize("microseconds", [1000, 50])
def test_signals_while_hooks_run(host, microseconds):
    expected = blocks(host.run("signals", microseconds))
    trace = host.the_trace()
    assert trace["allocs"] >= expected and trace["frees"] == expected  # handlers record too, or are counted as dropped
    assert (trace["damage"], trace["recycled"]) == (0, 0)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small file system")
def test_signals_while_space_is_reserved_on_tmpfs(host):
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", host.traces_at], check=False)
    if mounted.returncode != 0:
        pytest.skip("cannot mount")
    try:
        expected = blocks(host.run("signals", 20))
        assert host.the_trace()["allocs"] >= expected
    finally:
        subprocess.run(["umount", host.traces_at], check=True)


@pytest.mark.parametrize("microseconds", [200, 1000, 3000, 9000])
def test_exit_in_a_signal_handler(host, microseconds):
    finished = host.run("exit_from_handler", microseconds)
    assert finished.returncode == 9
    trace = host.the_trace()
    assert (trace["damage"], trace["recycled"]) == (0, 0)


def test_longjmp_out_of_hooks(host):
    finished = host.run("longjmp", 300)
    assert finished.returncode == 0, finished.stderr
    trace = host.the_trace()
    assert trace["damage"] == 0
    assert trace["allocs"] >= blocks(finished)  # those after the last jump: recording goes on


def test_threads_by_the_hundred(host):
    expected = blocks(host.run("threads", 400))
    check_whole(host.the_trace(), expected)


def test_thread_cycles_leak_nothing(host):
    few, many = (host.run("thread_cycles", count) for count in (100, 5000))
    assert few.returncode == many.returncode == 0
    small, large = (
        dict(zip(out[::2], map(int, out[1::2]), strict=True)) for out in (few.stdout.split(), many.stdout.split())
    )
    assert large["mappings"] <= small["mappings"] + 2
    assert large["descriptors"] == small["descriptors"]
    assert large["resident_kib"] < small["resident_kib"] + 2048


def test_fork_cycles_leak_nothing(host):
    few, many = (host.run("fork_cycles", count, OOMTRACE_BUDGET="1MiB") for count in (10, 1000))
    assert few.returncode == many.returncode == 0, many.stderr
    small, large = (
        dict(zip(out[::2], map(int, out[1::2]), strict=True)) for out in (few.stdout.split(), many.stdout.split())
    )
    assert large["mappings"] <= small["mappings"] + 2
    assert large["descriptors"] == small["descriptors"]
    assert large["resident_kib"] < small["resident_kib"] + 2048
    assert len(list(host.traces_at.glob("*.oomtrace"))) == 10 + 1000 + 2  # one for each child, one for each parent
    shutil.rmtree(host.traces_at)  # half a gigabyte


def test_broken_pipe_at_exit_does_not_change_the_status(host):
    """The line about the trace goes to a pipe that nobody reads any more."""
    reader, writer = os.pipe()
    os.close(reader)
    process = subprocess.Popen(
        [HOST, "threads", "2"],
        stdout=subprocess.DEVNULL,
        stderr=writer,
        env={"LD_PRELOAD": str(RECORDER), "OOMTRACE_DIR": str(host.traces_at), "OOMTRACE_VERBOSE": "1"},
        restore_signals=True,
    )
    os.close(writer)
    assert process.wait(TIMEOUT) == 0
    assert host.the_trace()["exits"] == 1


def test_full_pipe_at_exit_does_not_hang(host):
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    try:
        while os.write(writer, b"x" * 65536):
            pass
    except BlockingIOError:
        pass
    os.set_blocking(writer, True)
    process = subprocess.Popen(
        [HOST, "threads", "2"],
        stdout=subprocess.DEVNULL,
        stderr=writer,
        env={"LD_PRELOAD": str(RECORDER), "OOMTRACE_DIR": str(host.traces_at), "OOMTRACE_VERBOSE": "1"},
    )
    assert process.wait(TIMEOUT) == 0
    os.close(reader)
    os.close(writer)


@pytest.mark.parametrize("mask", [0o000, 0o777])
def test_mode_whatever_the_umask(host, mask):
    expected = blocks(host.run("threads", 2, before=lambda: os.umask(mask)))
    trace = host.the_trace()
    check_whole(trace, expected)
    assert trace["path"].stat().st_mode & 0o777 == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_analyze_says_what_to_do_about_a_trace_of_another_user(host):
    host.run("threads", 2)
    path = host.the_trace()["path"]
    shared = Path("/tmp") / f"{os.getpid()}.oomtrace"  # where another user may look
    shutil.copyfile(path, shared)
    shared.chmod(0o600)
    try:
        finished = subprocess.run(
            [BUILD / "bin" / "oomtrace", "analyze", shared],
            capture_output=True,
            text=True,
            check=False,
            user=65534,
            cwd="/",
        )
    finally:
        shared.unlink()
    assert finished.returncode == 1
    assert "chmod a+r" in finished.stderr and str(shared) in finished.stderr


@pytest.mark.parametrize("name", ["with space", "new\nline", "quo'te", "umläut", "-dash", "$HOME;x"])
def test_odd_directory_names(host, name):
    odd = host.directory / name
    odd.mkdir()
    finished = host.run("threads", 2, OOMTRACE_DIR=str(odd), OOMTRACE_VERBOSE="1")
    assert finished.returncode == 0
    (line,) = finished.stderr.splitlines()
    (path,) = odd.iterdir()
    command = line.split("run: ")[1]
    shown = subprocess.run(["bash", "-c", f"printf %s {command.split('analyze ')[1]}"], capture_output=True, check=True)
    assert shown.stdout.decode() == str(path)  # what is offered to the shell is the path


def test_path_that_is_too_long_is_refused_not_cut(host):
    long = "d" * 250
    deep = host.traces_at
    while len(str(deep)) < 3900:
        deep = deep / long
    try:
        deep.mkdir(parents=True)
    except OSError:  # made step by step, as the whole path is too long for one call
        pytest.skip("no directory this deep here")
    for more in ("x" * 100, "x" * 150 + "/" + "y" * 150):
        finished = host.run("threads", 2, OOMTRACE_DIR=f"{deep}/{more}")
        assert finished.returncode == 0
        (line,) = finished.stderr.splitlines()
        assert line.startswith("oomtrace: not recording: ") and line.endswith(
            ("directory with a short name", "No such file or directory", "File name too long")
        )
    assert not list(deep.rglob("*.oomtrace"))


def test_links_and_files_at_the_path(host):
    target = host.directory / "target"
    target.write_text("precious")
    at = host.traces_at / "x.oomtrace"
    for place in ("link", "dangling", "file", "fifo"):
        shutil.rmtree(host.traces_at)
        host.traces_at.mkdir()
        if place == "link":
            at.symlink_to(target)
        elif place == "dangling":
            at.symlink_to(host.directory / "nowhere")
        elif place == "file":
            at.write_text("kept")
        else:
            os.mkfifo(at)
        expected = blocks(host.run("threads", 2, OOMTRACE_FILE=str(at)))
        at.unlink()
        check_whole(host.the_trace(), expected)
        assert target.read_text() == "precious" and not (host.directory / "nowhere").exists()


def no_fallocate():
    """In the child, from now on: a file system that does not know fallocate, as NFS before 4.2."""
    from seccomp import refuse_fallocate

    refuse_fallocate()


def test_file_system_without_fallocate(host):
    expected = blocks(host.run("parallel", 4, before=no_fallocate))
    check_whole(host.the_trace(), expected)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small file system")
@pytest.mark.parametrize("size", ["64k", "1m", "3m", "ro"])
def test_disk_that_is_full_or_read_only(host, size):
    option = "ro" if size == "ro" else f"size={size}"
    if subprocess.run(["mount", "-t", "tmpfs", "-o", option, "tmpfs", host.traces_at], check=False).returncode != 0:
        pytest.skip("cannot mount")
    try:
        finished = host.run("close_before")
        assert finished.returncode == 0
        traces = host.counts()
        if size in ("64k", "ro"):
            assert traces == [] and len(finished.stderr.splitlines()) == 1
            assert ("No space left" if size == "64k" else "Read-only file system") in finished.stderr
        else:
            assert traces[0]["damage"] == 0 and traces[0]["folded"] + traces[0]["recycled"] > 0
    finally:
        subprocess.run(["umount", host.traces_at], check=True)


def test_small_limits(host):
    for limit, value in (
        (resource.RLIMIT_FSIZE, 2 << 20),
        (resource.RLIMIT_AS, 256 << 20),
        (resource.RLIMIT_NOFILE, 16),
    ):
        finished = host.run("threads", 2, before=lambda: resource.setrlimit(limit, (value, value)))  # noqa: B023
        assert finished.returncode == 0, (limit, finished.stderr)
        for path in host.traces_at.iterdir():
            path.unlink()


def test_memory_of_an_endless_job_is_bounded(host):
    finished = host.run("endless", 20, OOMTRACE_BUDGET="32MiB")
    assert finished.returncode == 0
    words = finished.stdout.split()
    numbers = dict(zip(words[::2], map(int, words[1::2]), strict=True))
    assert numbers["resident_kib"] - numbers["before_kib"] < 32 << 10
    trace = host.the_trace()
    assert (trace["damage"], trace["recycled"], trace["dropped"], trace["live"]) == (0, 0, 0, 0)
    assert trace["folded"] > 10_000_000
    assert trace["path"].stat().st_blocks * 512 <= 33 << 20


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
@pytest.mark.parametrize("budget", ["512MiB", "1MiB"])  # the second is folded all the time
@pytest.mark.parametrize("seed", range(4))
def test_killed_at_a_random_moment(host, seed, budget, signal_number):
    threads = 3
    process = subprocess.Popen(
        [HOST, "for_ever", str(threads)],
        env={"LD_PRELOAD": str(RECORDER), "OOMTRACE_DIR": str(host.traces_at), "OOMTRACE_BUDGET": budget},
        stdout=subprocess.PIPE,
        text=True,
    )
    first = process.stdout.readline()
    time.sleep(random.Random(f"{seed} {budget} {signal_number}").uniform(0, 0.15))
    process.send_signal(signal_number)
    out, _ = process.communicate(timeout=TIMEOUT)
    assert process.returncode == -signal_number
    said = dict(line.split() for line in (first + out).splitlines() if len(line.split()) == 2)
    trace = host.the_trace()
    assert (trace["damage"], trace["dropped"], trace["recycled"]) == (0, 0, 0)
    assert trace["live"] <= threads
    if budget == "512MiB":
        assert trace["allocs"] >= sum(map(int, said.values())) and trace["unborn_frees"] == 0
        assert 0 <= trace["allocs"] - trace["frees"] <= threads
    else:
        assert trace["allocs"] + trace["frees"] + trace["folded"] >= 2 * sum(map(int, said.values()))


def test_death_in_the_middle_by_the_memory_controller(host):
    """The kernel's OOM killer, in a group of its own."""
    group = next((path for path in (Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")) if group_limit(path)), None)
    if group is None:
        pytest.skip("no memory controller to be had")
    own = group / f"oomtrace-{os.getpid()}"
    try:
        own.mkdir()
        (own / group_limit(group)).write_text(str(64 << 20))
    except OSError:
        pytest.skip("may not make a control group")
    try:
        finished = host.run("eat", 0, before=lambda: (own / "cgroup.procs").write_text(str(os.getpid())))
        assert finished.returncode == -signal.SIGKILL
        trace = host.the_trace()
        assert trace["allocs"] >= int(finished.stdout.split()[-1]) and trace["damage"] == 0
    finally:
        own.rmdir()


def group_limit(path):
    """The name of a control group's memory limit, version 1 or 2; None where there is no such controller."""
    if (path / "memory.limit_in_bytes").exists():
        return "memory.limit_in_bytes"
    controllers = path / "cgroup.subtree_control"
    return "memory.max" if controllers.exists() and "memory" in controllers.read_text() else None
