"""Dead weight: each script of scripts/deadweight/ has a planted one and leaves it out when told `without`; none of
scripts/needed/ has any.

The first lines of a script name the category that the plant bears (`category: A|B` allows either), a part of the line
that made it, and a part of the line where the change belongs; `least:` says what the change saves beside. What the
report predicts is compared with PyTorch's own count of the highest bytes of both runs.
"""

from pathlib import Path

import pytest
from harness import GIB, SCRIPTS, WarmInterpreter

PLANTED = sorted((SCRIPTS / "deadweight").glob("*.py"))
NEEDED = sorted((SCRIPTS / "needed").glob("*.py"))


@pytest.fixture(scope="module")
def warm(tmp_path_factory):
    interpreter = WarmInterpreter(tmp_path_factory.mktemp("warm"), options=("--timeline",))
    yield interpreter
    interpreter.close()


def expected(script, key):
    line = next(line for line in script.read_text().splitlines() if line.startswith(f"{key}: "))
    return line.split(": ", 1)[1].split("|")


def line_at(script, site):
    name, line = site.rsplit(":", 1)
    assert Path(name).name == script.name, site
    return script.read_text().splitlines()[int(line) - 1]


def named(paths):
    return [pytest.param(path, id=path.stem) for path in paths]


@pytest.mark.parametrize("script", named(PLANTED))
def test_the_plant_comes_first_with_the_bytes_that_the_peak_loses(warm, analyze, script):
    planted, without = warm.run(script, capacity=2 * GIB), warm.run(script, "without", capacity=2 * GIB)
    assert planted.status == without.status == 0, planted.stderr + without.stderr
    dead = analyze(planted).dead_weight
    first = dead["items"][0]
    peak = int(planted.stdout)
    assert dead["peak"] == pytest.approx(peak, rel=0.01)
    saved = peak - int(without.stdout)
    if "\nleast: " in script.read_text():
        assert saved / 2 < first["saving"] <= saved
    else:
        assert first["saving"] == pytest.approx(saved, rel=0.01)
    assert first["category"] in expected(script, "category")
    assert any(part in line_at(script, first["site"]) for part in expected(script, "made"))
    assert any(part in line_at(script, first["change_site"]) for part in expected(script, "change"))
    left = analyze(without).dead_weight["items"]
    assert not [item for item in left if item["site"] == first["site"] and item["category"] == first["category"]]


@pytest.mark.parametrize("script", named(NEEDED))
def test_what_a_training_needs_is_not_listed(warm, analyze, script):
    job = warm.run(script, capacity=2 * GIB)
    assert job.status == 0, job.stderr
    dead = analyze(job).dead_weight
    assert dead["judged"]
    assert dead["notes"] == []
    assert dead["items"] == []
