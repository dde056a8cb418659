"""Compiled programs whose device memory only looks like a leak, and leaks that hide (tests/programs/growth.c)."""

import json
import sys

import pytest
from harness import BUILD, GIB, MIB, OOMTRACE, assert_adds_up, run

PROGRAM = BUILD / "tests" / "programs" / "growth_runtime"
CUPY = BUILD / "cupy" / "site-packages"
CUDA = BUILD / "cuda" / "nvidia" / "cu13"


@pytest.fixture
def diagnose(tmp_path):
    """diagnose(command…, env=…, options=…) -> report of a command on a simulated RTX 4070."""

    def recorded(*command, env=None, options=()):
        trace = tmp_path / "job.oomtrace"
        card = ["--gpu", "rtx4070", *options, "-o", trace]
        job = run([OOMTRACE, "dryrun", *card, "--", *command], cwd=tmp_path, env=env)
        assert trace.exists(), job.stderr
        report = json.loads(run([OOMTRACE, "analyze", "--format", "json", trace]).stdout)
        report["text"] = run([OOMTRACE, "analyze", trace]).stdout
        assert_adds_up(report)
        return report

    return recorded


def fix_of(report, name):
    return next(fix for fix in report["fixes"] if fix["id"] == name)


def causes(report):
    return [cause["id"] for cause in report["causes"]]


def test_loading_in_bursts_amid_work_is_no_leak(diagnose):
    report = diagnose(PROGRAM, "bursts")
    assert report["pattern"] == "late_allocation", report["evidence"]
    assert report["culprit"]["function"] == "TakeTable"


def test_one_workspace_for_each_thread_is_no_leak(diagnose):
    report = diagnose(PROGRAM, "workers")
    assert report["pattern"] == "at_start", report["evidence"]
    assert causes(report) == ["memory_per_thread"]
    held = report["device"]["other"] // (1200 * MIB)
    assert held == 9
    assert f"at most {held} threads" in fix_of(report, "fewer_threads")["change"]


def test_each_thread_has_its_own_number(diagnose):
    """Those that come after another has ended, too: one allocation each, of more threads than work at a time."""
    report = diagnose(PROGRAM, "tasks")
    assert report["pattern"] == "gradual_leak", report["evidence"]
    leaked = next(owner for owner in report["owners"] if owner["site"].startswith("TakeRow"))
    assert leaked["tensors"] > 64 and leaked["thread"] == ""
    assert report["out_of_memory"]["thread"].startswith("thread ")
    assert not any("was made by thread" in said for said in report["evidence"])


def test_two_leaks_are_both_named_and_what_stopping_one_is_worth(diagnose):
    report = diagnose(PROGRAM, "two_leaks")
    assert report["pattern"] == "gradual_leak"
    assert report["culprit"]["function"] == "TakeRow"
    assert any(said.startswith("TakeColumn in growth_runtime grows as well") for said in report["evidence"])
    fix = fix_of(report, "stop_growth")
    assert fix["fits"]
    # Four allocations a round, of which the second leak keeps 10 MiB.
    left = round(fix["headroom"] / (10 * MIB) * 4)
    said = fix["change"].split("after about ")[1].split()[0]
    assert int(said) == pytest.approx(left, rel=0.02)


def test_the_rate_of_a_leak_leaves_out_what_was_made_at_the_start(diagnose):
    report = diagnose(PROGRAM, "table_and_leak")
    assert report["pattern"] == "gradual_leak"
    assert report["culprit"]["function"] == "TakeAnything"
    # 24 MiB for every eleven allocations.
    assert report["leak"]["bytes_per_1000_calls"] == pytest.approx(1000 / 11 * 24 * MIB, rel=0.02)


def test_what_the_pages_take_is_the_programs_and_not_the_contexts(diagnose):
    report = diagnose(PROGRAM, "odd_pieces")
    assert report["pattern"] == "gradual_leak"
    rounding = next(owner for owner in report["owners"] if owner["name"] == "pages")
    leaked = next(owner for owner in report["owners"] if owner["name"] == PROGRAM.name)
    assert leaked["bytes"] + rounding["bytes"] == leaked["tensors"] * 4 * MIB == report["device"]["other"]
    assert report["device"]["context"] < GIB / 2
    assert any("whole pages of 2.00 MiB" in said for said in report["evidence"])


def test_a_pool_that_doubles_is_no_leak(diagnose):
    report = diagnose(PROGRAM, "doubling")
    assert report["pattern"] == "at_start", report["evidence"]


def test_a_request_unheard_of_is_not_laid_at_a_slow_growth(diagnose):
    report = diagnose(PROGRAM, "unheard")
    assert report["pattern"] == "late_allocation", report["evidence"]
    assert report["culprit"]["function"] == "TakeAnything"
    assert any("Beside this, memory held by TakeRow in growth_runtime grows" in said for said in report["evidence"])


def test_what_an_idle_pool_keeps_is_known_without_a_measured_context(diagnose):
    report = diagnose(PROGRAM, "idle_pool")
    assert causes(report) == ["idle_pools"], report["evidence"]
    fix = fix_of(report, "trim_pool")
    assert fix["fits"] and report["fixes"][0] == fix
    assert fix["saving"] == pytest.approx(32 * 256 * MIB, rel=0.01)


def test_the_card_that_refused_is_named_among_several(diagnose, tmp_path):
    script = tmp_path / "second.py"
    script.write_text(
        "import ctypes\n"
        "runtime, pointer = ctypes.CDLL('libcudart.so.13'), ctypes.c_void_p()\n"
        "def take(mib):\n"
        "    return runtime.cudaMalloc(ctypes.byref(pointer), ctypes.c_size_t(mib << 20))\n"
        "take(3000)\n"
        "runtime.cudaSetDevice(1)\n"
        "while take(500) == 0: pass\n"
        "raise SystemExit(1)\n"
    )
    report = diagnose(sys.executable, script, options=["--gpus", "2"])
    assert report["device"]["index"] == 1
    assert report["device"]["name"] == "NVIDIA GeForce RTX 4070"
    assert "These numbers are of GPU 1 alone. The process then held 2.93 GiB on GPU 0." in report["evidence"]


@pytest.fixture
def diagnose_cupy(diagnose, tmp_path):
    def recorded(source):
        script = tmp_path / "script.py"
        script.write_text(source)
        return diagnose(sys.executable, script, env={"PYTHONPATH": str(CUPY), "CUDA_PATH": str(CUDA)})

    return recorded


def test_cupy_that_asks_the_device_itself_is_read_as_it_is(diagnose_cupy):
    report = diagnose_cupy(
        "import cupy\n"
        "cupy.cuda.set_allocator(None)\n"
        "rows = []\n"
        "while True:\n"
        "    scratch = cupy.empty(40 << 20, dtype=cupy.uint8)\n"
        "    rows.append(cupy.empty(60 << 20, dtype=cupy.uint8))\n"
        "    del scratch\n"
    )
    assert report["pattern"] == "gradual_leak", report["evidence"]
    assert report["culprit"]["line"] == 6
    assert not any("pool" in said for said in report["evidence"] + report["unknown"])
    assert fix_of(report, "stop_growth")["fits"]


def test_what_cupys_pool_may_have_idle_is_not_called_too_little(diagnose_cupy):
    """Few blocks, none of which was given back: how much of them is idle is not in the trace."""
    report = diagnose_cupy(
        "import cupy\n"
        "blocks = [cupy.zeros(2 << 30, dtype=cupy.uint8) for _ in range(4)]\n"
        "del blocks\n"
        "cupy.cuda.runtime.malloc(6 << 30)\n"
    )
    assert causes(report) == ["idle_pools"], report["evidence"]
    fix = report["fixes"][0]
    assert fix["id"] == "cupy_free_blocks"
    assert not fix["fits"] and fix["condition"].startswith("if at least ")
    assert "may fit: if at least" in report["text"].replace("\n     ", " ")
    assert "Not enough alone: Give CuPy" not in report["text"]
