"""The command line: what is typed, what is answered, which status comes back."""

import json
import os
import platform
import signal
import subprocess
import sys
import time

import pytest
from harness import BUILD, OOMTRACE, SCRIPTS, run


@pytest.mark.parametrize("command", ["run", "dryrun", "analyze", "plan", "verify", "explain", "doctor", "gpus", "fit"])
def test_help_has_examples_and_exit_statuses(command):
    job = run([OOMTRACE, command, "--help"])
    assert job.status == 0
    assert f"oomtrace {command}" in job.stdout
    assert "Example" in job.stdout
    assert "xit status" in job.stdout


def test_version_and_help():
    assert run([OOMTRACE, "--version"]).stdout.startswith("oomtrace ")
    job = run([OOMTRACE, "--help"])
    assert job.status == 0
    assert all(command in job.stdout for command in ("run", "dryrun", "analyze", "explain", "doctor", "gpus"))


@pytest.mark.parametrize("arguments", [[], ["frobnicate"], ["analyze", "--format", "xml"], ["dryrun", "--", "true"]])
def test_wrong_arguments(arguments):
    job = run([OOMTRACE, *arguments])
    assert job.status == 1
    assert job.stderr.startswith("oomtrace: ")
    assert "--help" in job.stderr


@pytest.mark.parametrize(("word", "kind"), [("frobnicate", "command"), ("--frobnicate", "option")])
def test_an_unknown_word_is_named_and_the_commands_listed(word, kind):
    job = run([OOMTRACE, word])
    assert job.status == 1
    assert f"unknown {kind} {word}" in job.stderr
    assert "the commands are run, dryrun, analyze, " in job.stderr


@pytest.mark.parametrize("subcommand", [["run"], ["dryrun", "--gpu", "t4"]])
def test_an_empty_output_name_is_refused(subcommand):
    job = run([OOMTRACE, *subcommand, "-o", "", "--", "true"])
    assert job.status == 1
    assert "the file name is empty" in job.stderr


def test_gpus_lists_names_that_dryrun_takes():
    names = [line.split()[0] for line in run([OOMTRACE, "gpus"]).stdout.splitlines()[1:]]
    assert {"rtx4070", "rtx3090", "rtx4090", "a100-40gb", "a100-80gb", "h100", "h200"} <= set(names)
    for name in names:
        assert run([OOMTRACE, "dryrun", "--gpu", name, "--no-record", "--", "true"]).status == 0


def test_an_unknown_card_is_answered_with_the_known_ones():
    job = run([OOMTRACE, "dryrun", "--gpu", "rtx4700", "--", "true"])
    assert job.status == 1
    assert "did you mean rtx4070" in job.stderr
    assert "h200" in job.stderr


@pytest.mark.parametrize(("option", "value"), [("--other", "lots"), ("--context", "1.2.3GiB"), ("--gpus", "0")])
def test_bad_values_name_their_option(option, value):
    job = run([OOMTRACE, "dryrun", "--gpu", "rtx4070", option, value, "--", "true"])
    assert job.status == 1
    assert option in job.stderr


@pytest.mark.parametrize("subcommand", [["run"], ["dryrun", "--gpu", "t4"]])
class TestPassThrough:
    def test_status(self, subcommand):
        for status in (0, 1, 3, 77):
            assert run([OOMTRACE, *subcommand, "--", "sh", "-c", f"exit {status}"]).status == status

    def test_streams_and_arguments(self, subcommand):
        job = run([OOMTRACE, *subcommand, "--", "sh", "-c", 'echo "$0"; echo err >&2', "--gpu"])
        assert (job.stdout, job.stderr) == ("--gpu\n", "err\n")

    def test_death_by_signal(self, subcommand):
        job = run([OOMTRACE, *subcommand, "--", "sh", "-c", "kill -SEGV $$"])
        assert job.status == -signal.SIGSEGV

    def test_missing_command(self, subcommand):
        job = run([OOMTRACE, *subcommand, "--", "no-such-program"])
        assert job.status == 127
        assert "command not found: no-such-program" in job.stderr

    def test_not_executable(self, subcommand, tmp_path):
        (tmp_path / "train.py").write_text("print(1)\n")
        job = run([OOMTRACE, *subcommand, "--", tmp_path / "train.py"])
        assert job.status == 126
        assert "cannot execute" in job.stderr

    def test_forgotten_separator(self, subcommand):
        job = run([OOMTRACE, *subcommand, "python", "train.py"])
        assert job.status == 1
        assert f"oomtrace {' '.join(subcommand)} -- python train.py" in job.stderr
        quoted = run([OOMTRACE, *subcommand, "python", "-c", "print(1)"])
        assert "-- python -c 'print(1)'" in quoted.stderr

    def test_nothing_after_the_separator(self, subcommand):
        job = run([OOMTRACE, *subcommand, "--"])
        assert job.status == 1
        assert "no command" in job.stderr


def test_a_signal_to_oomtrace_reaches_the_command():
    script = "trap 'exit 9' TERM; echo ready; while :; do sleep 0.05; done"
    with subprocess.Popen([OOMTRACE, "run", "--", "bash", "-c", script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 9


def test_preload_keeps_what_was_there():
    other = BUILD / "lib" / "simgpu" / "libnvidia-ml.so.1"
    job = run([OOMTRACE, "run", "--", "sh", "-c", "echo $LD_PRELOAD"], env={"LD_PRELOAD": str(other)})
    ours, kept = job.stdout.strip().split(":")
    assert ours == str(BUILD / "lib" / "liboomtrace.so")
    assert kept == str(other)


def test_a_process_without_cuda_leaves_nothing(tmp_path):
    job = run([OOMTRACE, "run", "--", sys.executable, "-c", "print(1)"], cwd=tmp_path)
    assert (job.status, job.stdout) == (0, "1\n")
    assert os.listdir(tmp_path) == []


def test_a_dry_run_that_used_no_cuda_says_one_line(tmp_path):
    job = run([OOMTRACE, "dryrun", "--gpu", "t4", "--", sys.executable, "-c", "print(1)"], cwd=tmp_path)
    assert (job.status, job.stdout) == (0, "1\n")
    assert job.stderr.startswith("oomtrace: nothing was recorded: the job used no CUDA memory")
    assert job.stderr.count("\n") == 1


@pytest.mark.skipif(os.path.exists("/proc/driver/nvidia"), reason="this machine has a GPU")
def test_a_job_that_failed_for_want_of_a_gpu_is_told_of_dryrun(tmp_path):
    job = run([OOMTRACE, "run", "--", sys.executable, "-c", "import sys; sys.exit(4)"], cwd=tmp_path)
    assert job.status == 4
    assert len(job.stderr.splitlines()) == 1
    assert "oomtrace dryrun --gpu NAME -- " in job.stderr


class TestInterpreters:
    """A stand-in for site-packages decides what `torch` is; the interpreter is a real one in an empty environment."""

    @pytest.fixture
    def python(self, tmp_path):
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
        return tmp_path / "venv" / "bin" / "python"

    def test_without_torch(self, python, tmp_path):
        job = run([OOMTRACE, "dryrun", "--gpu", "t4", "--", python, "-c", "import torch"], cwd=tmp_path)
        assert job.status == 1
        assert "has no PyTorch" in job.stderr

    def test_torch_without_cuda(self, python, tmp_path):
        packages = next((tmp_path / "venv" / "lib").glob("python*/site-packages"))
        (packages / "torch").mkdir()
        (packages / "torch" / "__init__.py").write_text("")
        (packages / "torch" / "version.py").write_text("__version__ = '2.11.0+cpu'\ncuda = None\n")
        job = run([OOMTRACE, "dryrun", "--gpu", "t4", "--", python, "-c", "import torch, sys; sys.exit(5)"])
        assert job.status == 5
        assert "2.11.0+cpu" in job.stderr and "built without CUDA" in job.stderr


def test_analyze_takes_the_newest_trace_of_the_folder(dryrun, tmp_path):
    script = SCRIPTS / "healthy.py"
    older = dryrun(script, gpu="2GiB")
    newer = dryrun(script, gpu="3GiB")
    assert older.trace and newer.trace
    shown = run([OOMTRACE, "analyze", "--format", "json"], cwd=tmp_path)
    assert shown.status == 0
    assert f'"total": {3 << 30}' in shown.stdout
    elsewhere = tmp_path / "empty"
    elsewhere.mkdir()
    by_variable = run([OOMTRACE, "analyze"], cwd=elsewhere, env={"OOMTRACE_DIR": str(tmp_path)})
    assert by_variable.status == 0
    assert newer.trace.name in by_variable.stdout or "healthy" in by_variable.stdout.lower()


def test_analyze_passes_over_what_is_no_trace(dryrun, tmp_path):
    job = dryrun(SCRIPTS / "healthy.py", gpu="2GiB", env={"OOMTRACE_STACKS": "off"})
    foreign = tmp_path / "newer.oomtrace"
    foreign.write_text("something else" * 1000)
    shown = run([OOMTRACE, "analyze", "--format", "json"], cwd=tmp_path)
    assert shown.status == 0, shown.stderr
    assert "newer.oomtrace: not an oomtrace trace" in shown.stderr and job.trace.name in shown.stderr
    assert any("OOMTRACE_STACKS switches them off" in line for line in json.loads(shown.stdout)["unknown"])
    job.trace.unlink()
    assert run([OOMTRACE, "analyze"], cwd=tmp_path).status == 1


def test_analyze_without_any_trace(tmp_path):
    job = run([OOMTRACE, "analyze"], cwd=tmp_path)
    assert job.status == 1
    assert "no *.oomtrace" in job.stderr and "oomtrace run" in job.stderr


def test_several_traces_are_an_array(dryrun):
    healthy = dryrun(SCRIPTS / "healthy.py", gpu="2GiB")
    dead = dryrun(SCRIPTS / "at_start_weights.py", gpu="1GiB")
    shown = run([OOMTRACE, "analyze", "--format", "json", healthy.trace, dead.trace])
    assert shown.status == 3
    assert [report["pattern"] for report in json.loads(shown.stdout)] == ["healthy", "at_start"]


def test_the_reports_of_several_traces_are_headed_by_trace_and_rank(dryrun):
    first = dryrun(SCRIPTS / "healthy.py", gpu="2GiB", env={"RANK": "0"})
    second = dryrun(SCRIPTS / "healthy.py", gpu="2GiB", env={"RANK": "1"})
    shown = run([OOMTRACE, "analyze", first.trace, second.trace])
    assert shown.stdout.startswith(f"Trace: {first.trace}, rank 0\n")
    assert f"\n\nTrace: {second.trace}, rank 1\n" in shown.stdout
    assert "Trace: " not in run([OOMTRACE, "analyze", first.trace]).stdout


def test_the_death_is_announced_once(dryrun):
    job = dryrun(SCRIPTS / "at_start_weights.py", gpu="1GiB")
    announced = [line for line in job.stderr.splitlines() if line.startswith("oomtrace:")]
    assert len(announced) == 1, announced
    assert f"oomtrace analyze {job.trace}" in announced[0]


def test_preload_alone_works(tmp_path):
    libraries = (BUILD / "lib" / "simgpu" / "preload.txt").read_text().split()
    preload = [BUILD / "lib" / "liboomtrace.so", *(BUILD / "lib" / "simgpu" / name for name in libraries)]
    env = {"LD_PRELOAD": ":".join(map(str, preload)), "OOMTRACE_SIM_GPU": "rtx3060"}
    job = run([sys.executable, SCRIPTS / "healthy.py"], cwd=tmp_path, env=env)
    assert job.status == 0, job.stderr[-2000:]
    traces = list(tmp_path.glob("*.oomtrace"))
    assert len(traces) == 1
    assert run([OOMTRACE, "analyze", traces[0]]).status == 0


def test_a_killed_job_is_pointed_at_its_trace(tmp_path):
    trace = tmp_path / "killed.oomtrace"
    script = tmp_path / "killed.py"
    script.write_text(
        "import os, signal, torch\nx = torch.ones(1000, device='cuda')\nos.kill(os.getpid(), signal.SIGKILL)\n"
    )
    job = run([OOMTRACE, "dryrun", "--gpu", "t4", "-o", trace, "--", sys.executable, script])
    assert job.status == -signal.SIGKILL
    assert f"oomtrace analyze {trace}" in job.stderr
    assert run([OOMTRACE, "analyze", trace]).status == 0


def test_output_takes_the_place_of_no_other_file(tmp_path):
    notes = tmp_path / "notes.txt"
    notes.write_text("keep me")
    job = run([OOMTRACE, "run", "-o", notes, "--", "true"])
    assert job.status == 1
    assert notes.read_text() == "keep me"
    reserved = tmp_path / "reserved.txt"
    reserved.touch()
    assert run([OOMTRACE, "run", "-o", reserved, "--", "true"]).status == 1
    assert reserved.exists()


TAKES_MEMORY = """
import ctypes, os, sys, time
runtime, address = ctypes.CDLL("libcudart.so.13"), ctypes.c_void_p()
for _ in range(int(sys.argv[1])):
    runtime.cudaMalloc(ctypes.byref(address), ctypes.c_size_t(1 << 20))
print("taken", flush=True)
if "wait" in sys.argv:
    sys.stdin.readline()
if "die" in sys.argv:
    os.abort()
"""


@pytest.fixture
def start_job(tmp_path):
    """start_job(folder, *arguments): a program that takes device memory and, asked to, waits for a line or dies."""
    script = tmp_path / "takes.py"
    script.write_text(TAKES_MEMORY)

    def start(folder, *arguments, options=()):
        folder.mkdir(exist_ok=True)
        job = subprocess.Popen(
            [OOMTRACE, "dryrun", "--gpu", "t4", *options, "--", sys.executable, script, *arguments],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert job.stdout.readline() == "taken\n"
        return job

    return start


def allocations(trace):
    report = json.loads(run([OOMTRACE, "analyze", "--format", "json", trace]).stdout)
    return report["peak"]["bytes"] >> 20


def test_an_older_trace_at_the_place_of_the_output_gets_another_name(tmp_path, start_job):
    here = tmp_path / "here"
    here.mkdir()
    output = here / "job.oomtrace"
    for count in ("1", "2"):
        _, remark = start_job(here, count, options=["-o", output]).communicate()
    assert allocations(output) == 2
    (older,) = [path for path in here.glob("*.oomtrace") if path != output]
    assert f"the older trace of that name is now {older}" in remark
    assert allocations(older) == 1


def test_the_output_of_a_job_that_still_runs_is_left_to_it(tmp_path, start_job):
    here = tmp_path / "here"
    output = here / "job.oomtrace"
    first = start_job(here, "1", "wait", options=["-o", output])
    second = start_job(here, "2", "die", options=["-o", output])
    _, remark = second.communicate()
    (beside,) = [path for path in here.glob("*.oomtrace") if path != output]
    assert "which still runs" in remark
    assert f"its trace is {beside};" in remark
    first.communicate("\n")
    assert allocations(output) == 1
    assert allocations(beside) == 2


def test_a_job_is_not_pointed_at_the_trace_of_another_one_beside_it(tmp_path, start_job):
    here = tmp_path / "a folder"
    dies = start_job(here, "1", "wait", "die")
    (own,) = here.glob("*.oomtrace")
    other = start_job(here, "2", "wait")
    _, said = dies.communicate("\n")
    assert f"oomtrace analyze ./{own.name}\n" in said
    other.communicate("\n")


class TestDoctor:
    def test_machine(self):
        environment = {"PATH": f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"}
        job = run([OOMTRACE, "doctor"], env=environment)
        assert job.status == 0, job.stdout
        for word in ("recorder", "simulated GPU", "NVIDIA driver", "PyTorch", "works with this python"):
            assert word in job.stdout

    def test_trace(self, dryrun):
        job = dryrun(SCRIPTS / "healthy.py", gpu="2GiB")
        shown = run([OOMTRACE, "doctor", job.trace])
        assert shown.status == 0, shown.stdout
        assert "hooked" in shown.stdout
        assert "healthy.py" in shown.stdout and platform.node() in shown.stdout
        assert "reportMemoryUsageToProfiler" in shown.stdout or "libc10" in shown.stdout

    def test_command_that_touches_no_gpu(self, tmp_path):
        job = run([OOMTRACE, "doctor", "--", "true"], cwd=tmp_path)
        assert job.status == 1
        assert "no trace" in job.stdout
        assert "recording was not seen to work" in job.stdout.splitlines()[-1]

    def test_the_commands_own_python_is_examined(self, tmp_path):
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
        python = tmp_path / "venv" / "bin" / "python"
        job = run([OOMTRACE, "doctor", "--", python, "-c", "print(1)"], cwd=tmp_path)
        assert f"{python}, 3." in job.stdout and f"{python} has no PyTorch" in job.stdout
        assert "python  " not in run([OOMTRACE, "doctor", "--", "true"], cwd=tmp_path).stdout

    def test_missing_trace(self, tmp_path):
        job = run([OOMTRACE, "doctor", tmp_path / "none.oomtrace"])
        assert job.status == 1


def test_start_is_quick():
    begin = time.monotonic()
    run([OOMTRACE, "--version"])
    assert time.monotonic() - begin < 1
