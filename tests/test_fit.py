"""`oomtrace fit`: what it says is the largest was run and fits, what is above it was run and does not."""

import json
import signal
import subprocess
import sys
import time

import pytest
from harness import OOMTRACE, SCRIPTS, run

BLOCKS = SCRIPTS / "fit" / "blocks.py"
TRAIN = SCRIPTS / "fit" / "train.py"
# 1 GiB less the context (0.22 GiB): 12 blocks of 64 MiB.
CARD, LARGEST = "1GiB", 12
# The largest batch of train.py on such a card is 13.
TRAIN_PLACES = ("--batch={n}", "--accumulation={64//n}")


def fit(*words, script=BLOCKS, gpu=CARD, cwd=None, places=("--size={n}",)):
    job = run([OOMTRACE, "fit", "--gpu", gpu, *words, "--", sys.executable, script, *places], cwd=cwd)
    job.answer = json.loads(job.stdout) if "json" in words and job.stdout else None
    return job


def test_largest_value_and_the_one_above_were_run():
    job = fit("--vary", "n=1..64", "--format", "json")
    (row,) = job.answer["rows"]
    assert job.status == 0 and row["finished"] and row["monotone"] and not row["whole_range"]
    assert (row["largest"], row["next"]) == (LARGEST, LARGEST + 1)
    assert row["at_largest"]["fits"] and not row["at_next"]["fits"]
    assert row["tried"][str(LARGEST)] == row["at_largest"] and row["tried"][str(LARGEST + 1)] == row["at_next"]
    assert row["at_next"]["summary"].startswith("Out of memory")
    assert row["command"][-1] == f"--size={LARGEST}"
    trials = [line for line in job.stderr.splitlines() if line.startswith("oomtrace: 1GiB n=")]
    assert len(trials) == len(row["tried"])


def test_cards_lists_and_expressions():
    job = fit("--vary", "n=1..16", "--vary", "w=1,2", gpu="1GiB,2GiB", places=("--size={2*n - n}", "--width={w}"))
    assert job.status == 0, job.stderr
    lines = [line.split() for line in job.stdout.splitlines() if line.startswith(("1GiB", "2GiB"))]
    # 2 GiB less the context: 28 blocks.
    assert [line[:3] for line in lines] == [
        ["1GiB", "w=1", "12"],
        ["1GiB", "w=2", "6"],
        ["2GiB", "w=1", "16"],
        ["2GiB", "w=2", "14"],
    ]
    assert "The whole range fits; larger values were not tried." in job.stdout
    assert "--size=6 --width=2 fits" in job.stdout


def test_none_fits():
    job = fit("--vary", "n=20..24", "--format", "json")
    (row,) = job.answer["rows"]
    assert job.status == 3 and row["largest"] is None and row["next"] == 20 and not row["at_next"]["fits"]


def test_what_is_not_monotone_is_said():
    job = fit("--vary", "n=5..64", places=("--size={n}", "--wasteful=10"))
    assert job.status == 0 and "Not monotone: 11 fits, though 10 does not. Up to 9 all" in job.stdout
    assert job.stdout.splitlines()[1].split()[1] == str(LARGEST)


@pytest.mark.parametrize(
    "do, said",
    [
        ("raise", "ValueError: size 2 is not allowed"),
        ("signal", "signal 11 (Segmentation fault)"),
        ("hang", "still running at the time limit of 1 s"),
    ],
)
def test_other_failures_end_the_search(do, said):
    job = fit("--vary", "n=1..4", "--limit", "1", "--format", "json", places=("--size={n}", "--at=2", f"--do={do}"))
    assert job.status == 1 and said in job.stderr and "n=2" in job.stderr
    assert said in job.answer["error"]
    assert [row["finished"] for row in job.answer["rows"]] == [False]


def test_results_are_gone_on_from(tmp_path):
    command = ("--vary", "n=1..64", "--results", "r.json", "--format", "json")
    first = fit(*command, cwd=tmp_path)
    kept = json.loads((tmp_path / "r.json").read_text())
    dropped = kept["trials"].popitem()
    (tmp_path / "r.json").write_text(json.dumps(kept))
    second = fit(*command, cwd=tmp_path)
    assert second.answer == first.answer
    trials = [line for line in second.stderr.splitlines() if line.startswith("oomtrace: 1GiB n=")]
    new = [line for line in trials if "known from r.json" not in line]
    assert len(new) == 1 and dropped[0] in new[0]
    # Another command, other steps, something that is no such file.
    other = fit(*command, cwd=tmp_path, places=("--size={n}", "--width=2"))
    assert other.status == 1 and "its trials are those of another run: there the command was" in other.stderr
    (tmp_path / "r.json").write_text("{}")
    assert "no result file" in fit(*command, cwd=tmp_path).stderr
    assert (tmp_path / "r.json").read_text() == "{}"


@pytest.mark.parametrize(
    "words, said",
    [
        (["--vary", "m=1..4"], "no place {m}"),
        (["--vary", "n=1,2"], "must be a range"),
        (["--vary", "n=4..1"], "ends before it begins"),
        (["--vary", "n=1..4", "--vary", "n=1,2"], "the same name"),
        (["--vary", "n=1..4", "--gpu", "rtx4071"], "no such card"),
        (["--vary", "n=1..4", "--gpu", "1GiB,1GiB"], "stands there twice"),
    ],
)
def test_wrong_arguments(words, said):
    job = run([OOMTRACE, "fit", *([] if "--gpu" in words else ["--gpu", CARD]), *words, "--", "true", "{n}"])
    assert job.status == 1 and said in job.stderr and not job.stdout


def test_interrupted_it_leaves_nothing_running():
    command = [OOMTRACE, "fit", "--gpu", CARD, "--vary", "n=1..4", "--", sys.executable, BLOCKS]
    process = subprocess.Popen([*command, "--size={n}", "--do=hang"], stderr=subprocess.PIPE, text=True)
    time.sleep(1)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == -signal.SIGTERM and "interrupted" in errors
    assert not subprocess.run(["pgrep", "-f", f"{BLOCKS} --size=. --do=hang"], capture_output=True).stdout


def test_what_a_trial_started_ends_with_it():
    job = fit("--vary", "n=1..1", places=("--size={n}", "--do=orphan"))
    assert job.status == 0, job.stderr
    assert not subprocess.run(["pgrep", "-f", f"{BLOCKS} --size=. --do=orphan"], capture_output=True).stdout


def judged(job):
    """What must not depend on how a trial was started: a run is stopped some steps later than asked."""
    assert job.status == 0, job.stderr
    (row,) = job.answer["rows"]
    for trial in (*row["tried"].values(), row["at_largest"], row["at_next"]):
        if trial and trial["fits"]:
            assert trial.pop("steps") >= 3 and trial["step_noun"] == "optimizer step"
            assert trial.pop("ended").startswith("stopped after")
    return row


def test_training_is_stopped_after_its_steps():
    job = fit("--vary", "n=13..14", "--format", "json", script=TRAIN, places=TRAIN_PLACES)
    assert "a process of its own" not in job.stderr
    row = judged(job)
    assert row["largest"] == 13 and row["at_next"]["summary"].startswith("Out of memory in")
    assert row["at_largest"]["total"] == 1 << 30 and row["at_largest"]["left"] < 128 << 20


@pytest.mark.slow
def test_a_fork_dies_at_the_same_place():
    job = fit("--vary", "n=14..15", "--format", "json", script="train.py", cwd=TRAIN.parent, places=("--batch={n}",))
    assert job.status == 3 and "fit/train.py" in job.answer["rows"][0]["at_next"]["summary"]
    assert "a process of its own" not in job.stderr


def test_a_script_that_sets_the_environment_is_not_forked(tmp_path):
    script = tmp_path / "sets.py"
    script.write_text("import os\nos.environ['A'] = '1'\nimport torch\n" + BLOCKS.read_text())
    job = fit("--vary", "n=1..1", script=script)
    assert job.status == 0
    assert f"each trial is a process of its own: {script}:2 sets a variable of the environment" in job.stderr


@pytest.mark.slow
def test_what_is_caught_does_not_fit(tmp_path):
    script = tmp_path / "catches.py"
    script.write_text("""
import sys, torch
model = torch.nn.Linear(1024, 1024).cuda()
optimizer = torch.optim.AdamW(model.parameters())
size = int(sys.argv[1])
for _ in range(8):
    try:
        model(torch.randn(1024 * size, 1024, device="cuda")).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    except torch.OutOfMemoryError:
        size //= 2
""")
    job = fit("--vary", "n=64..65", "--format", "json", script=script, places=("{n}",))
    (row,) = job.answer["rows"]
    assert job.status == 3 and row["largest"] is None
    assert "refused memory" in row["at_next"]["summary"] and row["at_next"]["steps"] > 0
    # Where the first one is refused, too, a fork says the same of it, down to the path of the script.
    assert "a process of its own" not in job.stderr


@pytest.mark.slow
def test_until_an_evaluation():
    places = ("--batch=2", "--eval-every=5", "--eval-batch={n}")
    job = fit("--vary", "n=1..64", "--until", "eval", "--format", "json", script=TRAIN, places=places)
    (row,) = job.answer["rows"]
    assert "evaluation" in row["at_next"]["summary"] and "and an evaluation" in row["at_largest"]["ended"]


@pytest.mark.slow
def test_where_a_fork_does_not_give_the_same_nothing_is_forked():
    job = fit("--vary", "n=1..2", "--format", "json", script=SCRIPTS / "fit" / "notices.py", places=("{n}",))
    (row,) = job.answer["rows"]
    assert "each trial is a process of its own: the first one went another way there: tensors 128.00 MiB" in job.stderr
    assert {trial["peak"] for trial in row["tried"].values()} == {128 << 20}


@pytest.mark.slow
@pytest.mark.parametrize(
    "script, gpu, places",
    [(TRAIN, "1GiB", TRAIN_PLACES), (SCRIPTS / "fit" / "transformer.py", "2GiB", ("--batch={n}",))],
)
def test_a_fork_gives_the_same(script, gpu, places):
    command = ("--vary", "n=1..64", "--format", "json")
    forked, alone = (fit(*command, *way, gpu=gpu, script=script, places=places) for way in ([], ["--no-fork"]))
    assert "a process of its own" not in forked.stderr
    assert judged(forked) == judged(alone)
