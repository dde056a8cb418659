"""The recorder beside others: a second preloaded library in both orders, a sanitizer, plugins that are unloaded, and
programs in the process tree that take no preload at all."""

import os
import subprocess
from pathlib import Path

import pytest
from conftest import BUILD, RECORDER
from test_hosts import HOST, blocks, check_whole, host  # noqa: F401 - the fixture

RUNTIME = BUILD / "lib" / "hosts" / "libcudart.so.13"
SECOND = BUILD / "lib" / "libkill_second_preload.so"


def find_library(name):
    """As the dynamic linker would."""
    out = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True, check=False).stdout
    return next((line.split("=> ")[1] for line in out.splitlines() if line.split()[:1] == [name]), None)


def orders(other):
    return [(RECORDER, other), (other, RECORDER)]


@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("mode", ["threads", "fork_live", "signals"])
def test_with_another_allocator(host, order, mode):  # noqa: F811
    other = find_library("libjemalloc.so.2")
    if other is None:
        pytest.skip("libjemalloc2 is not installed")
    expected = blocks(
        host.run(mode, {"threads": 100, "fork_live": 3, "signals": 1000}[mode], preload=orders(other)[order])
    )
    trace = max(host.counts(), key=lambda trace: trace["allocs"])
    assert trace["allocs"] >= expected and trace["damage"] == 0


@pytest.mark.parametrize("order", [0, 1])
def test_with_another_tool(host, order):  # noqa: F811
    finished = host.run("threads", 10, preload=orders(SECOND)[order])
    assert finished.returncode == 0, finished.stderr
    assert sorted(finished.stdout.splitlines()) == ["blocks 3000", "seen 1"]
    trace = host.the_trace()
    check_whole(trace, 3000)
    assert trace["device_allocs"] == 1  # neither missed nor counted twice


@pytest.mark.parametrize(
    ("mode", "number"), [("threads", 50), ("fork_live", 5), ("thread_cycles", 50), ("signals", 5000)]
)
def test_under_address_sanitizer(host, mode, number):  # noqa: F811
    asan = subprocess.run(
        [os.environ.get("CC", "cc"), "-print-file-name=libasan.so"], capture_output=True, text=True, check=True
    ).stdout.strip()
    if not Path(asan).exists():
        pytest.skip("no libasan")
    # ASan demands to be the first; LeakSanitizer needs ptrace, which containers refuse.
    finished = subprocess.run(
        [BUILD / "bin" / "kill_host_asan", mode, str(number)],
        cwd=host.directory,
        env={
            "LD_PRELOAD": f"{Path(asan).resolve()}:{RECORDER}",
            "OOMTRACE_DIR": str(host.traces_at),
            "ASAN_OPTIONS": "detect_leaks=0",
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (finished.returncode, finished.stderr) == (0, "")
    assert all(trace["damage"] == 0 for trace in host.counts()) and host.counts()


def test_runtimes_that_are_unloaded(host):  # noqa: F811
    copies = [host.directory / f"plugin{i}.so" for i in range(3)]
    for copy in copies:  # under names of their own, by which nobody else holds them
        name = f"-Wl,-soname,{copy.name}"
        source = Path(__file__).parent / "hosts" / "cudart.c"
        subprocess.run(["cc", "-shared", "-fPIC", name, "-o", copy, source], check=True)
    environment = {"LD_PRELOAD": str(RECORDER), "OOMTRACE_DIR": str(host.traces_at)}
    finished = subprocess.run([BUILD / "bin" / "plugin_host", *copies], env=environment, check=False)
    assert finished.returncode == 0
    assert host.the_trace()["device_allocs"] == 3


def test_recorder_that_is_unloaded(host):  # noqa: F811
    command = [BUILD / "bin" / "plugin_host", "-unload", RECORDER, RUNTIME]
    finished = subprocess.run(command, env={"OOMTRACE_DIR": str(host.traces_at)}, check=False)
    assert finished.returncode == 0
    trace = host.the_trace()
    assert (trace["device_allocs"], trace["exits"]) == (1, 1)


def test_recorder_that_comes_and_goes_leaks_nothing(host):  # noqa: F811
    held = []
    for number in (10, 1000):
        command = [BUILD / "bin" / "plugin_host", "-cycles", str(number), RECORDER, RUNTIME]
        finished = subprocess.run(
            command, env={"OOMTRACE_DIR": str(host.traces_at)}, stdout=subprocess.PIPE, text=True, check=True
        )
        words = finished.stdout.split()
        held.append(dict(zip(words[::2], map(int, words[1::2]), strict=True)))
    few, many = held
    assert many["descriptors"] == few["descriptors"]
    assert many["mappings"] < few["mappings"] + 10  # the C library's own come and go by one or two
    assert many["resident_pages"] < few["resident_pages"] + 512
    assert sorted(trace["device_allocs"] for trace in host.counts()) == [10, 1000]


def test_programs_that_take_no_preload(host):  # noqa: F811
    """Nothing printed, nothing left, the status untouched: a static one, a set-user-id one, and shells round them."""
    source = host.directory / "quiet.c"
    source.write_text("int main(void) { return 7; }\n")
    static, privileged = host.directory / "static", host.directory / "privileged"
    subprocess.run(["cc", "-static", "-o", static, source], check=True)
    subprocess.run(["cc", "-o", privileged, source], check=True)
    privileged.chmod(0o4755)
    host.directory.chmod(0o755)
    for program in (static, privileged):
        finished = subprocess.run(
            ["/bin/sh", "-c", f"(exec '{program}'); echo $?"],
            env={"LD_PRELOAD": str(RECORDER), "OOMTRACE_DIR": str(host.traces_at), "OOMTRACE_VERBOSE": "1"},
            capture_output=True,
            text=True,
            check=True,
        )
        assert (finished.stdout, finished.stderr) == ("7\n", "")
    assert list(host.traces_at.iterdir()) == []
    assert HOST.exists()
