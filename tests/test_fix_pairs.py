"""Fixes against the same job really run with them: what is said to fit fits, and the predicted peaks are near."""

import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parent / "fixes"
sys.path.insert(0, str(FOLDER))

from pairs import CORPUS, MIB, Bench, quantile  # noqa: E402


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    bench = Bench(tmp_path_factory.mktemp("pairs"))
    yield bench
    bench.close()


def assert_held(pairs):
    assert not [pair for pair in pairs if pair.said and not pair.fits]


def test_a_few_pairs(bench):
    pairs = [*bench.pairs("mlp.py", ["--batch_size", 4096], shares=(0.9,))]
    pairs += bench.pairs("convnet.py", ["--batch_size", 48, "--depth", 3], shares=(0.7,))
    assert len(pairs) >= 2
    assert_held(pairs)


def test_graphs_that_add_up_over_an_evaluation_are_not_answered_with_its_batch(bench):
    pairs = {pair.fix: pair for pair in bench.pairs("evaluation.py", ["--keep", "loss"], shares=(0.6,))}
    assert "evaluation_batch" not in pairs
    assert_held(pairs.values())
    assert pairs["no_grad"].fits
    assert pairs["detach"].fits


def test_what_an_evaluation_keeps_to_its_end_is_part_of_the_promise(bench):
    arguments = ["--keep", "output", "--samples", 400000]
    pairs = {pair.fix: pair for pair in bench.pairs("evaluation.py", arguments, shares=(0.5,))}
    assert not pairs["no_grad"].said
    assert_held(pairs.values())


def test_batches_of_unlike_length_are_promised_nothing_beyond_the_longest_seen(bench):
    pairs = list(bench.pairs("unlike_lengths.py", [], shares=(0.6,)))
    assert pairs
    assert all(pair.conditional or not pair.said for pair in pairs), pairs
    assert_held(pairs)


def test_a_network_that_nobody_trains_is_noticed(bench):
    pairs = {pair.fix: pair for pair in bench.pairs("two_networks.py", [], shares=(0.9,))}
    assert "no_grad" in pairs
    assert_held(pairs.values())


def slow(arguments):
    return pytest.param(arguments, marks=pytest.mark.slow)


@pytest.mark.parametrize("arguments", [[], slow(["--teacher_first", 0]), slow(["--eval_mode", 0])])
def test_a_teacher_with_gradients_is_part_of_the_training(bench, arguments):
    pairs = list(bench.pairs("distillation.py", ["--optimizer", "SGD", *arguments], shares=(0.45, 0.85)))
    assert {pair.pattern for pair in pairs} == {"first_batch"}
    assert_held(pairs)
    without_graph = [pair for pair in pairs if pair.fix == "no_grad"]
    assert len(without_graph) == 2
    assert all(pair.fits and -0.02 < pair.error < 0.5 for pair in without_graph), without_graph
    # Where something trained runs before the teacher, its gradients may have to flow through it.
    assert all(pair.said or "--teacher_first" in arguments for pair in without_graph)
    assert not [pair for pair in pairs if pair.fix == "move_to_cpu"]


def test_a_model_that_is_only_run_is_not_told_what_training_would_need(dryrun, analyze, tmp_path):
    script = tmp_path / "serve.py"
    script.write_text(
        "import torch\n"
        "layers = torch.nn.ModuleList(torch.nn.Linear(2000, 2000) for _ in range(20)).half()\n"
        "layers.requires_grad_(False)\n"
        "layers.to('cuda')\n"
    )
    report = analyze(dryrun(script, gpu="360MiB")).report
    causes = {cause["id"]: cause["title"] for cause in report["causes"]}
    assert "optimizer" not in causes["model_states_too_large"]
    assert any("only run the model" in sentence for sentence in report["evidence"])
    assert not [fix["id"] for fix in report["fixes"] if fix["fits"] or "optimizer" in fix["id"]]
    assert {"quantized_weights", "shard_states"} <= {fix["id"] for fix in report["fixes"]}


HALF = """
import sys
import torch
model = torch.nn.Sequential(*[torch.nn.Linear(2048, 2048) for _ in range(16)])
if "--bf16" in sys.argv:
    model.to(torch.bfloat16)
model.to("cuda")
"""


def test_half_precision_is_counted_in_whole_segments(bench, tmp_path):
    # Matrices of 16 MiB have segments of their own; those of 8 MiB share segments of 20, two and two.
    script = tmp_path / "half.py"
    script.write_text(HALF)
    report, died = bench.run(script, [], 64 * MIB + 200 * MIB)
    half, fails = bench.run(script, ["--bf16"], 64 * MIB + 200 * MIB)
    assert died and not fails
    fix = next(fix for fix in report["fixes"] if fix["id"] == "bf16_states")
    assert abs(fix["predicted_peak"] - half["peak"]["reserved"]) <= 2 * MIB, fix


GRAPHS = """
import torch
net = torch.nn.Sequential(torch.nn.Linear(256, 1024), torch.nn.ReLU(), torch.nn.Linear(1024, 500)).cuda().eval()
kept = []
while True:
    kept.append(net(torch.randn(1024, 256, device="cuda")))
"""


def test_graphs_of_many_batches_are_not_the_activations_of_one(bench, tmp_path):
    script = tmp_path / "graphs.py"
    script.write_text(GRAPHS)
    report, _ = bench.run(script, [], 400 * MIB)
    causes = [cause["id"] for cause in report["causes"]]
    assert causes[0] == "evaluation_without_no_grad"
    assert "activations_too_large" not in causes


@pytest.mark.slow
def test_all_pairs(bench):
    pairs = [pair for job, arguments in CORPUS for pair in bench.pairs(job, arguments)]
    assert_held(pairs)
    replayed = [abs(pair.error) for pair in pairs if pair.basis == "replayed" and pair.fix.startswith("micro_batch")]
    assert quantile(replayed, 0.5) <= 0.01, sorted(replayed)
    assert all(pair.real > MIB for pair in pairs)
