"""`oomtrace verify`: fixes really run, and what is said where they cannot be, or where a run tells nothing."""

import json
import sys

import pytest
from harness import OOMTRACE, WarmInterpreter, run

# What nobody recorded: WIDTH decides about the model, LINGER about the time after the last step.
TRAIN = """
import argparse, os, time
import torch
import torch.nn as nn

parser = argparse.ArgumentParser()
parser.add_argument("--batch_size", type=int, default=8192)
parser.add_argument("--accumulation", type=int, default=2)
options = parser.parse_args()
width = int(os.environ.get("WIDTH", "2048"))
model = nn.Sequential(nn.Linear(1024, width), nn.GELU(), nn.Linear(width, width), nn.GELU(), nn.Linear(width, 8)).cuda()
optimizer = torch.optim.AdamW(model.parameters())
for step in range(2):
    for _ in range(options.accumulation):
        model(torch.randn(options.batch_size, 1024, device="cuda")).square().mean().backward()
    optimizer.step()
    optimizer.zero_grad()
time.sleep(float(os.environ.get("LINGER", "0")))
"""
CARD = "500MiB"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A job that died, recorded as a user would; `job.oomtrace` is its trace."""
    folder = tmp_path_factory.mktemp("verify")
    (folder / "train.py").write_text(TRAIN)
    command = [sys.executable, "train.py", "--batch_size=8192", "--accumulation", "2"]
    job = run([OOMTRACE, "dryrun", "--gpu", CARD, "-o", "job.oomtrace", "--", *command], cwd=folder)
    assert "CUDA out of memory" in job.stderr
    return folder


def verify(folder, *arguments, env=None):
    return run([OOMTRACE, "verify", *arguments], cwd=folder, env=env)


def test_the_fix_of_the_recorded_command_runs(folder):
    job = verify(folder, "job.oomtrace", "--format", "json", "--fixes", "1", env={"PYTORCH_CUDA_ALLOC_CONF": "junk:1"})
    assert job.status == 0, job.stderr
    report = json.loads(job.stdout)
    fix = report["fixes"][0]
    assert report["not_verified"] == ""
    assert (fix["id"], fix["basis"], fix["fits"]) == ("micro_batch", "simulated", True)
    done = fix["verification"]
    assert (done["run"], done["died"], done["why"], done["ended"], done["steps"]) == (True, False, "", "exit 0", 2)
    # It died in its first forward: the prediction leaves room for what was not seen.
    assert 0 < done["peak"] <= fix["predicted_peak"]
    values = {setting["name"]: setting["value"] for setting in fix["settings"]}
    assert f"--batch_size={values['--batch_size']}" in done["command"]
    assert done["command"][-2:] == ["--accumulation", values["--accumulation"]]


def test_another_job_than_the_recorded_one_proves_nothing(folder):
    job = verify(folder, "--fixes", "1", env={"WIDTH": "64"})
    assert job.status == 1
    assert "not known: its parameters take" in job.stdout
    assert "another job, it seems" in job.stdout and "fits" not in job.stdout


@pytest.mark.slow
def test_what_the_command_has_no_place_for_is_said(folder):
    command = ["--", sys.executable, "train.py", "--batch_size={batch_size}", "--acc=1"]
    job = verify(folder, "--fixes", "1", "--format", "json", *command)
    report = json.loads(job.stdout)
    fix = report["fixes"][0]
    assert fix["verification"]["left_out"] == ["accumulation"]
    assert not fix["keeps_effective_batch"]
    assert job.status == 0 and fix["fits"]


def test_a_time_limit_is_called_one(folder):
    # PyTorch's import alone takes longer.
    job = verify(folder, "--fixes", "1", "--limit", "1")
    assert job.status == 1
    assert "not known: it was stopped at the time limit before it used CUDA memory; --limit" in job.stdout


def test_a_run_that_fails_otherwise_shows_its_last_line(folder):
    job = verify(folder, "--fixes", "1", "--", sys.executable, "-c", "raise SystemExit('bad data')", "{batch_size}")
    assert job.status == 1
    assert "not known: the run ended with exit 1 and used no CUDA memory: bad data" in job.stdout


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--vary", "foo=1"], "--vary foo=1: the command has no {foo}"),
        (["--vary", "bs=1", "--", "train", "{batch_size}"], "no {bs}; its places are {batch_size}"),
        (["--", "train", "--bs", "8"], "the command has no --batch_size and no {batch_size}; give the command with"),
        (["--", "train", "{batch_size}", "{lr}"], "--vary lr=VALUE"),
    ],
)
def test_a_command_that_no_fix_fits_is_answered_in_json_too(folder, arguments, expected):
    job = verify(folder, "job.oomtrace", "--format", "json", *arguments)
    assert job.status == 1
    assert expected in job.stderr
    report = json.loads(job.stdout)
    assert report["not_verified"] in job.stderr
    assert not any(fix["verification"]["run"] for fix in report["fixes"])


def test_a_script_that_is_gone_is_named(folder):
    (folder / "train.py").rename(folder / "moved.py")
    try:
        job = verify(folder, "--format", "json")
    finally:
        (folder / "moved.py").rename(folder / "train.py")
    assert job.status == 1
    assert "there is no train.py; go to where the job is now" in job.stderr
    assert "there is no train.py" in json.loads(job.stdout)["not_verified"]


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """Two ranks, of which the second died."""
    folder = tmp_path_factory.mktemp("ranks")
    (folder / "train.py").write_text(TRAIN)
    warm = WarmInterpreter(folder)
    for rank, batch in enumerate((64, 8192)):
        environment = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
        flags = (f"--batch_size={batch}",)
        warm.run(folder / "train.py", *flags, capacity=500 << 20, environment=environment)
    warm.close()
    return folder


def test_of_a_folder_of_ranks_the_one_that_died_is_taken(ranks):
    alone = verify(ranks, ".")
    assert alone.status == 1
    assert "the trace is of rank 1 of 2, and one rank cannot be run alone" in alone.stderr
    assert "torchrun --nproc-per-node=2" in alone.stderr
    job = verify(ranks, ".", "--fixes", "1", "--", sys.executable, "train.py", "--batch_size={batch_size}")
    assert job.stdout.startswith("rank 1 of 2 ran out of memory")
    assert "On 2 simulated cards of 500.00 MiB each" in job.stdout
    assert "not known: the recorded job had 2 ranks, and this run had fewer" in job.stdout
    assert job.status == 1


def test_a_folder_of_several_jobs_is_refused(folder, ranks, tmp_path):
    for number, source in enumerate((folder / "job.oomtrace", ranks / "1.oomtrace", ranks / "2.oomtrace")):
        (tmp_path / f"{number}.oomtrace").write_bytes(source.read_bytes())
    job = verify(tmp_path, ".")
    assert job.status == 1
    assert "holds 3 traces, which are not the ranks of one job; name one of them" in job.stderr


def test_a_job_without_a_death_has_nothing_to_verify(ranks):
    job = verify(ranks, "1.oomtrace", "--format", "json")
    assert job.status == 0
    assert json.loads(job.stdout)["not_verified"] == "the job did not run out of memory"


def test_a_file_that_is_no_trace_is_refused(tmp_path):
    (tmp_path / "x.oomtrace").write_text("nothing")
    job = verify(tmp_path, "x.oomtrace")
    assert (job.status, job.stdout) == (1, "")
    assert "x.oomtrace" in job.stderr
