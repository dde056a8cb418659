"""Leaks as people write them: each script of scripts/leaks/ names, in its first lines, who keeps what leaks and what
its line looks like; none of scripts/steady/ leaks.

`holder: A|B` asks for one of the two at the beginning of the name, `other: A|B` for a second one that has to let go as
well, `made: A|B` for a line with one of these in it, `fix: A` for the first change that is advised. The rate is
compared with what PyTorch said was allocated after each step of the same run.
"""

from itertools import pairwise
from pathlib import Path

import pytest
from harness import GIB, MIB, SCRIPTS, WarmInterpreter

LEAKS = sorted((SCRIPTS / "leaks").glob("*.py"))
STEADY = sorted((SCRIPTS / "steady").glob("*.py"))
# One for each way in which a name or a trend is found; the others run with the slow tests.
QUICK = {
    "running_total",
    "exceptions_kept",
    "forward_hook",
    "metric_state",
    "grad_create_graph",
    "growing_module_list",
    "param_groups",
    "late_start",
    "lengths_vary",
    "partials_at_end",
    "coroutines_waiting",
    "finalizers",
    "fifo_backlog",
    "hooks_made_again",
    "features_rebuilt",
    "parent_links",
    "tasks_backlog",
}
# Without an optimizer nobody looks before the death.
LIVE = [path for path in LEAKS if path.stem != "manual_sgd"]
QUICK_LIVE = {"class_attribute", "evaluation_every_fifth", "late_start", "lengths_vary"}
QUICK_STEADY = {
    "cache_fills",
    "collected_cycles",
    "batch_grows_late",
    "curriculum",
    "curriculum_prefetched",
    "loaded_twice",
    "more_samples_each_step",
    "epochs_of_different_length",
    "evaluation_sawtooth",
    "growing_batches",
    "limits_not_reached",
    "replay_fills",
    "unfreezing",
    "variable_batches",
}


def scripts(paths, quick):
    return [pytest.param(path, id=path.stem, marks=() if path.stem in quick else pytest.mark.slow) for path in paths]


@pytest.fixture(scope="module")
def warm(tmp_path_factory):
    interpreter = WarmInterpreter(tmp_path_factory.mktemp("warm"))
    yield interpreter
    interpreter.close()


def expected(script, key):
    line = next((line for line in script.read_text().splitlines() if line.startswith(f"{key}: ")), None)
    return line.split(": ", 1)[1].split("|") if line else []


def assert_names(verdict, script):
    holder = verdict.culprit["holder"]
    assert any(holder.startswith(name) for name in expected(script, "holder")), verdict.culprit
    assert verdict.leak["holder"] == holder
    others = verdict.leak["other_holders"]
    wanted = expected(script, "other")
    assert len(others) == (1 if wanted else 0), others
    assert all(other.startswith(tuple(wanted)) for other in others), others
    if expected(script, "fix"):
        assert [verdict.fixes[0]["id"]] == expected(script, "fix")
    if expected(script, "made"):
        line = script.read_text().splitlines()[int(verdict.culprit["line"]) - 1]
        assert Path(verdict.culprit["file"]).name == script.name
        assert any(part in line for part in expected(script, "made")), line


def slopes(truth, since):
    """Of torch.cuda.memory_allocated(): of a line through all steps, and from the first rise to the last one."""
    counted = truth[since:]
    middle, mean = (len(counted) - 1) / 2, sum(counted) / len(counted)
    spread = sum((step - middle) ** 2 for step in range(len(counted)))
    yield sum((step - middle) * (value - mean) for step, value in enumerate(counted)) / spread
    rises = [later - earlier for earlier, later in pairwise(counted)]
    last = max(step for step, rise in enumerate(rises, 1) if 2 * rise > sum(rises) / len(rises))
    yield (counted[last] - counted[0]) / last


def assert_rate(verdict, truth):
    """Within 2 % of PyTorch's own count, by one measure or the other: a leak in every fifth step is a staircase, and a
    block is at times a megabyte larger than its tensor."""
    # Else there is no optimizer, or one after the other, of which the truth follows the first.
    if truth and len(truth) + 1 >= verdict.steps_completed:
        rate, since = verdict.leak["bytes_per_step"], verdict.leak["since_step"] - 1
        block = MIB / (len(truth) - since)
        assert any(rate == pytest.approx(slope, rel=0.02, abs=block) for slope in slopes(truth, since)), (rate, truth)


@pytest.mark.parametrize("script", scripts(LEAKS, QUICK))
def test_a_leak_names_its_holder_when_it_has_died(warm, analyze, script):
    job = warm.run(script, capacity=512 * MIB)
    verdict = analyze(job)
    assert verdict.pattern == "gradual_leak"
    assert verdict.leak["steps_to_oom"] == 0
    assert_names(verdict, script)
    assert_rate(verdict, job.truth)


@pytest.mark.parametrize("script", scripts(LIVE, QUICK_LIVE))
def test_a_leak_names_its_holder_before_it_dies(warm, analyze, script):
    job = warm.run(script, "30", capacity=2 * GIB)
    assert job.status == 0, job.stderr[-2000:]
    verdict = analyze(job)
    assert verdict.pattern == "healthy"
    assert_names(verdict, script)
    assert_rate(verdict, job.truth)
    # What is left of the card, at the rate of the leak; a bank that is copied to grow needs room for two.
    left = verdict.device["free"] + verdict.device["cache"]
    assert verdict.leak["steps_to_oom"] <= left / verdict.leak["bytes_per_step"] + 1
    assert verdict.leak["steps_to_oom"] >= 0.75 * left / verdict.leak["bytes_per_step"]


@pytest.mark.parametrize("script", scripts(STEADY, QUICK_STEADY))
def test_what_is_steady_is_no_leak(warm, analyze, script):
    job = warm.run(script, capacity=GIB)
    assert job.status == 0, job.stderr[-2000:]
    verdict = analyze(job)
    assert verdict.pattern == "healthy"
    assert verdict.leak["bytes_per_step"] == 0


def test_a_server_that_keeps_its_sessions_names_them(warm, analyze):
    """Nothing is trained, so there are no steps to count by: an evaluation that keeps its outputs."""
    verdict = analyze(warm.run(SCRIPTS / "serving_sessions.py", capacity=512 * MIB))
    assert verdict.pattern == "at_start"
    assert verdict.causes[0]["id"] == "evaluation_accumulates_outputs"
    assert verdict.culprit["holder"].startswith("Server.sessions")


def test_a_server_that_never_empties_its_cache_is_told_to(warm, analyze):
    verdict = analyze(warm.run(SCRIPTS / "serving_cache.py", capacity=512 * MIB))
    assert verdict.causes[0]["id"] == "kv_cache_grows"
    assert [fix["id"] for fix in verdict.fixes] == ["bound_kv_cache"]
    assert ".cache[" in verdict.culprit["holder"]
    assert verdict.fixes[0]["fits"]


def test_a_leak_is_told_of_a_run_that_ended_by_another_exception(warm, analyze):
    verdict = analyze(warm.run(SCRIPTS / "fails_while_leaking.py", capacity=GIB))
    assert verdict.pattern == "healthy"
    assert verdict.trace["ended"] == "exit 1 by LookupError"
    assert verdict.leak["holder"].startswith("outputs (local of main()")
    assert verdict.leak["bytes_per_step"] == pytest.approx(MIB, rel=0.02)


def test_a_leak_of_steps_by_hand_has_a_holder_at_exit(warm, analyze):
    verdict = analyze(warm.run(SCRIPTS / "no_optimizer_object.py", capacity=GIB))
    assert verdict.pattern == "healthy"
    assert verdict.leak["holder"].startswith("activity")
