"""The zoo: each report against the label of its script, each label against the script with the label's fix.

What the analyzer does not get right yet is listed here by script, and nothing else may be wrong; what has become right
must leave the list. `make zoo` prints the tables of docs/zoo.md.
"""

import pytest
from zoo.judge import judge
from zoo.keeper import Keeper, last_words
from zoo.label import all_labels

KNOWN_MISSES = {
    # The library's variable for the arguments is named, not the program's own.
    "generate_kv_cache": {"holder"},
    # In training mode, with gradients on: read as a larger batch of the training.
    "val_loss_no_eval": {"pattern"},
}

# Share of the used memory that a report of a death has to explain.
EXPLAINED = 0.999
# Tensors of a few MiB that no name was found for, beside little else.
EXPLAINED_LESS = {"one_giant_tensor": 0.98, "rl_replay": 0.998}

# One of each kind of evidence; the others run with the slow tests.
QUICK = {
    "adam_state_birth",
    "collate_outlier",
    "eval_collects_logits",
    "healthy_named_mode",
    "losses_for_plot",
    "neighbour_has_it",
}


@pytest.fixture(scope="module")
def keeper(tmp_path_factory):
    keeper = Keeper(tmp_path_factory.mktemp("zoo"))
    yield keeper
    keeper.close()


def labelled(labels):
    return [
        pytest.param(label, id=label.name, marks=() if label.name in QUICK else pytest.mark.slow) for label in labels
    ]


@pytest.mark.parametrize("label", labelled(all_labels()))
def test_the_verdict_is_that_of_the_label(keeper, label):
    job = keeper.start(label)
    assert (job.status == 0) == (label.pattern == "healthy"), job.stderr[-3000:]
    score = judge(label, keeper.analyze(job))
    assert set(score.misses) == KNOWN_MISSES.get(label.name, set()), (score.found, score.report["evidence"])
    if job.status != 0:
        explained = score.report["device"]["explained_share"]
        assert explained >= EXPLAINED_LESS.get(label.name, EXPLAINED), score.report["unknown"]
    if score.fidelity:
        assert score.fidelity[0] == score.fidelity[1], score.fidelity


@pytest.mark.slow
@pytest.mark.parametrize("label", [pytest.param(a, id=a.name) for a in all_labels() if a.pattern != "healthy"])
def test_the_fix_of_the_label_fits(keeper, label):
    job = keeper.start(label, label.proof)
    assert job.status == 0, last_words(job)
