"""Programs with CUDA and without PyTorch, on the simulated GPU: a compiled one below each API, and CuPy."""

import json
import sys

import pytest
from harness import BUILD, GIB, MIB, OOMTRACE, REPOSITORY, assert_adds_up, lines_with, run

PROGRAMS = BUILD / "tests" / "programs"
SOURCES = REPOSITORY / "tests" / "programs"
CUPY = BUILD / "cupy" / "site-packages"
CUDA = BUILD / "cuda" / "nvidia" / "cu13"


@pytest.fixture
def diagnose(tmp_path):
    """diagnose(command…, env=…) -> (job, report) of a command on a simulated RTX 4070."""

    def recorded(*command, env=None):
        trace = tmp_path / "job.oomtrace"
        job = run([OOMTRACE, "dryrun", "--gpu", "rtx4070", "-o", trace, "--", *command], cwd=tmp_path, env=env)
        assert trace.exists(), job.stderr
        analysis = run([OOMTRACE, "analyze", "--format", "json", trace])
        report = json.loads(analysis.stdout)
        assert_adds_up(report)
        job.text = run([OOMTRACE, "analyze", trace]).stdout
        return job, report

    return recorded


@pytest.fixture
def diagnose_cupy(diagnose):
    if not (CUPY / "cupy").exists():
        pytest.fail(f"{CUPY}/cupy is missing: run `scripts/setup test`")
    environment = {"PYTHONPATH": str(CUPY), "CUDA_PATH": str(CUDA)}
    return lambda script: diagnose(sys.executable, SOURCES / script, env=environment)


@pytest.mark.parametrize("api", ["runtime", "driver", "static"])
def test_a_leak_is_laid_at_the_function_that_keeps_what_it_takes(diagnose, api):
    program = PROGRAMS / f"program_{api}"
    if not program.exists():
        pytest.skip("NVIDIA's libcudart_static.a was not there when this was built")
    job, report = diagnose(program, "leak")
    assert job.status == 1
    assert report["pattern"] == "gradual_leak", report["evidence"]
    assert report["culprit"]["function"] == "KeepResult"
    assert report["culprit"]["file"] == str(program)
    owner = report["owners"][0]
    assert (owner["category"], owner["name"], owner["library"]) == ("other", program.name, str(program))
    assert owner["site"] == f"KeepResult in {program.name}"
    assert owner["bytes"] == owner["tensors"] * 64 * MIB == report["device"]["other"]
    assert owner["thread"] == report["out_of_memory"]["thread"] == "the main thread"
    assert report["out_of_memory"]["requested"] == 64 * MIB
    # Each round makes one allocation that goes and one that stays.
    assert report["leak"]["bytes_per_1000_calls"] == pytest.approx(500 * 64 * MIB, rel=0.02)
    assert report["fixes"][0]["id"] == "stop_growth" and report["fixes"][0]["fits"]
    assert report["step_noun"] == report["peak"]["phase"] == report["out_of_memory"]["phase"] == ""
    assert "optimizer step" not in job.text and "PyTorch" not in job.text, job.text


def test_memory_in_stream_order_is_seen_too(diagnose):
    _, report = diagnose(PROGRAMS / "program_driver", "leak_in_stream_order")
    assert report["pattern"] == "gradual_leak"
    assert report["culprit"]["function"] == "KeepResult"
    assert "trim_pool" not in [fix["id"] for fix in report["fixes"]]  # the pool has nothing idle that would do


def test_a_request_that_no_card_of_the_size_can_serve(diagnose):
    job, report = diagnose(PROGRAMS / "program_runtime", "too_large")
    assert report["pattern"] == "at_start"
    assert [cause["id"] for cause in report["causes"]] == ["single_allocation_exceeds_card"]
    assert report["out_of_memory"]["requested"] == 1 << 40
    assert report["out_of_memory"]["place"] == "TooLarge in program_runtime"
    assert "TooLarge" in job.text


def test_what_comes_late_is_told_from_what_grows(diagnose):
    _, report = diagnose(PROGRAMS / "program_runtime", "late")
    assert report["pattern"] == "late_allocation", report["evidence"]
    assert report["culprit"]["function"] == "Late"
    assert report["culprit"]["bytes"] == 6000 * MIB


def test_a_pool_taken_ahead_is_named_and_its_inside_is_not_claimed(diagnose):
    job, report = diagnose(PROGRAMS / "program_driver", "ahead")
    assert report["pattern"] == "healthy" and report["confidence"] <= 0.6
    assert any("75 % of the card" in sentence for sentence in report["evidence"]), report["evidence"]
    assert any("its own pool had reached its limit" in sentence for sentence in report["evidence"])
    assert any("in use" in sentence for sentence in report["unknown"])
    assert 8 * GIB < report["peak"]["bytes"] < 9 * GIB


def test_threads_are_told_apart(diagnose):
    _, report = diagnose(PROGRAMS / "program_driver", "threads")
    assert report["pattern"] == "gradual_leak"
    assert report["out_of_memory"]["thread"].startswith("thread ")
    assert report["owners"][0]["thread"] == ""  # several threads came by this place


def test_a_leak_through_a_function_that_serves_temporaries_too(diagnose):
    job, report = diagnose(PROGRAMS / "program_runtime", "leak_by_helper")
    assert report["pattern"] == "gradual_leak", report["evidence"]
    assert report["culprit"]["function"] == "Allocate"
    assert any("others allocate by it" in sentence for sentence in report["evidence"])
    assert any("Which caller of Allocate" in sentence for sentence in report["unknown"])
    # 16 MiB stay of each eight allocations, but for the last round's.
    assert report["leak"]["bytes_per_1000_calls"] == pytest.approx(1000 / 8 * 16 * MIB, rel=0.05)


def test_a_queue_of_bounded_length_is_no_leak(diagnose):
    _, report = diagnose(PROGRAMS / "program_runtime", "queue")
    assert report["pattern"] == "late_allocation", report["evidence"]


def test_the_one_thread_that_keeps_is_named(diagnose):
    _, report = diagnose(PROGRAMS / "program_driver", "one_thread")
    assert report["pattern"] == "gradual_leak", report["evidence"]
    said = "Several threads allocate there; what is held was made by the main thread."
    assert said in report["evidence"], report["evidence"]


def test_a_leak_that_outlived_its_events(diagnose):
    """Most events are folded away: what they say of the leak is still true."""
    whole = diagnose(PROGRAMS / "program_runtime", "long_leak")[1]
    job, report = diagnose(PROGRAMS / "program_runtime", "long_leak", env={"OOMTRACE_BUDGET": "1M"})
    assert report["pattern"] == whole["pattern"] == "gradual_leak", report["evidence"]
    assert report["culprit"] == whole["culprit"]
    rate = whole["leak"]["bytes_per_1000_calls"]
    assert report["leak"]["bytes_per_1000_calls"] == pytest.approx(rate, rel=0.01)
    assert rate == pytest.approx(1000 / 513 * 64 * MIB, rel=0.01)
    assert report["trace"]["events"] < whole["trace"]["events"] / 2


def test_why_a_function_has_no_name(diagnose, tmp_path):
    program = tmp_path / "built_again"
    program.write_bytes((PROGRAMS / "program_runtime").read_bytes())
    program.chmod(0o755)
    trace = tmp_path / "changed.oomtrace"
    run([OOMTRACE, "dryrun", "--gpu", "rtx4070", "-o", trace, "--", program, "leak"], cwd=tmp_path)
    program.touch()
    report = json.loads(run([OOMTRACE, "analyze", "--format", "json", trace]).stdout)
    assert any("it has changed since the recording" in sentence for sentence in report["unknown"]), report["unknown"]


def test_a_program_that_gives_everything_back_is_healthy(diagnose):
    job, report = diagnose(PROGRAMS / "program_runtime", "well")
    assert job.status == 0
    assert report["pattern"] == "healthy" and not report["out_of_memory"]["happened"]
    assert report["peak"]["bytes"] == 16 * MIB
    assert not report["fixes"]


def test_a_leak_in_cupy_is_laid_at_the_python_statement(diagnose_cupy):
    job, report = diagnose_cupy("cupy_leak.py")
    assert "cupy.cuda.memory.OutOfMemoryError" in job.stderr
    assert report["pattern"] == "gradual_leak", report["evidence"]
    script = SOURCES / "cupy_leak.py"
    assert report["culprit"]["file"] == str(script)
    assert report["culprit"]["line"] in lines_with(script, "kept.append")
    assert report["culprit"]["function"] == "work"
    assert report["owners"][0]["name"] == "cupy_backends.cuda.api.runtime"
    assert any("CuPy's pool" in sentence for sentence in report["unknown"])


def test_idle_blocks_of_cupys_pool_are_not_called_a_leak(diagnose_cupy):
    job, report = diagnose_cupy("cupy_idle.py")
    assert report["pattern"] != "gradual_leak", report["evidence"]
    assert [cause["id"] for cause in report["causes"]] == ["idle_pools"]
    assert "cupy_free_blocks" in [fix["id"] for fix in report["fixes"]]


def test_cupy_works_and_survives_what_does_not_fit(diagnose_cupy):
    job, report = diagnose_cupy("cupy_tour.py")
    assert job.status == 0, job.stderr
    assert "survived" in job.stdout and "is not simulated" not in job.stderr
    assert report["pattern"] == "healthy" and not report["out_of_memory"]["happened"]
    assert report["out_of_memory"]["caught_before"] > 0


def test_a_variable_with_nonsense_is_named_with_what_is_taken(tmp_path):
    env = {
        "OOMTRACE_BUDGET": "banana",
        "OOMTRACE_STACKS": "perhaps",
        "OOMTRACE_TIMELINE": "5-2",
        "OOMTRACE_CUPTI": "foo",
        "OOMTRACE_DLSYM": "YES",
    }
    job = run([OOMTRACE, "dryrun", "--gpu", "t4", "--", PROGRAMS / "program_runtime", "well"], cwd=tmp_path, env=env)
    assert job.status == 0
    lines = [line.removeprefix("oomtrace: ") for line in job.stderr.splitlines()]
    assert [line.split()[0] for line in lines] == [
        f"{name}={env[name]}" for name in ("OOMTRACE_STACKS", "OOMTRACE_BUDGET", "OOMTRACE_TIMELINE", "OOMTRACE_CUPTI")
    ]
    assert [line.rsplit(": ")[-1] for line in lines] == ["on is taken", "512M is taken", "3 is taken", "off is taken"]


def test_what_a_variable_switched_off_is_said(tmp_path):
    static = PROGRAMS / "program_static"
    off = run([OOMTRACE, "dryrun", "--gpu", "t4", "--", static, "well"], cwd=tmp_path, env={"OOMTRACE": "off"})
    assert off.stderr == "oomtrace: nothing was recorded: OOMTRACE=off switches the recorder off\n"
    env = {"OOMTRACE_DLSYM": "0"}
    missed = run([OOMTRACE, "dryrun", "--gpu", "t4", "--", static, "leak"], cwd=tmp_path, env=env)
    assert missed.status == 1 and "OOMTRACE_DLSYM=0 switches that hook off" in missed.stderr, missed.stderr
    assert not list(tmp_path.glob("*.oomtrace"))
    examined = run([OOMTRACE, "doctor", "--", static, "leak"], cwd=tmp_path, env=env)
    assert "OOMTRACE_DLSYM=0" in examined.stdout.splitlines()[-1]


def test_doctor_on_a_program_without_python(diagnose, tmp_path):
    diagnose(PROGRAMS / "program_runtime", "well")
    shown = run([OOMTRACE, "doctor", tmp_path / "job.oomtrace"]).stdout
    assert "  no Python, on the simulated GPU\n" in shown
    assert "libtorch_cpu.so          not in this process" in shown and "empty_generic" not in shown
    assert "=\n" not in shown  # variables that are set to nothing


def test_a_timeline_begins_with_the_first_memory_where_devices_are_never_counted(diagnose, tmp_path):
    job, _ = diagnose(PROGRAMS / "program_runtime", "well", env={"OOMTRACE_TIMELINE": "50-60"})
    assert "No window was opened: the timeline was asked for steps 50-60" in job.text.replace("\n  ", " ")
    assert "watches memory" in run([OOMTRACE, "doctor", tmp_path / "job.oomtrace"]).stdout
