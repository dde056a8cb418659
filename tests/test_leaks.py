"""Leaks as people write them: each script of scripts/leaks/ names, in its first lines, who keeps what leaks and what
its line looks like; none of scripts/steady/ leaks.

`holder: A|B` asks for one of the two at the beginning of the name, `made: A|B` for a line with one of these in it.
"""

from pathlib import Path

import pytest
from harness import SCRIPTS

LEAKS = sorted((SCRIPTS / "leaks").glob("*.py"))
STEADY = sorted((SCRIPTS / "steady").glob("*.py"))
# One for each way in which a name is found; the others run with the slow tests.
QUICK = {"running_total", "exceptions_kept", "forward_hook", "metric_state", "replay_buffer"}
QUICK_STEADY = {"cache_fills", "evaluation_sawtooth"}


def scripts(paths, quick):
    return [pytest.param(path, id=path.stem, marks=() if path.stem in quick else pytest.mark.slow) for path in paths]


def expected(script, key):
    line = next(line for line in script.read_text().splitlines() if line.startswith(f"{key}: "))
    return line.split(": ", 1)[1].split("|")


def assert_names(verdict, script):
    holder = verdict.culprit["holder"]
    assert any(holder.startswith(name) for name in expected(script, "holder")), verdict.culprit
    assert verdict.leak["holder"] == holder
    line = script.read_text().splitlines()[int(verdict.culprit["line"]) - 1]
    assert Path(verdict.culprit["file"]).name == script.name
    assert any(part in line for part in expected(script, "made")), line


@pytest.mark.parametrize("script", scripts(LEAKS, QUICK))
def test_a_leak_names_its_holder_when_it_has_died(dryrun, analyze, script):
    verdict = analyze(dryrun(script, gpu="512MiB"))
    assert verdict.pattern == "gradual_leak"
    assert verdict.leak["steps_to_oom"] == 0
    assert_names(verdict, script)


@pytest.mark.parametrize("script", scripts(LEAKS, {"losses_list", "class_attribute"}))
def test_a_leak_names_its_holder_before_it_dies(dryrun, analyze, script):
    job = dryrun(script, "30", gpu="2GiB")
    assert job.status == 0, job.stderr[-2000:]
    verdict = analyze(job)
    assert verdict.pattern == "healthy"
    assert verdict.leak["bytes_per_step"] > 0
    assert_names(verdict, script)
    # What is left of the card, at the rate of the leak.
    left = verdict.device["free"] + verdict.device["cache"]
    assert verdict.leak["steps_to_oom"] <= left / verdict.leak["bytes_per_step"] + 1
    assert verdict.leak["steps_to_oom"] >= 0.8 * left / verdict.leak["bytes_per_step"]


@pytest.mark.parametrize("script", scripts(STEADY, QUICK_STEADY))
def test_what_is_steady_is_no_leak(dryrun, analyze, script):
    job = dryrun(script, gpu="1GiB")
    assert job.status == 0, job.stderr[-2000:]
    verdict = analyze(job)
    assert verdict.pattern == "healthy"
    assert verdict.leak["bytes_per_step"] == 0
