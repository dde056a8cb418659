"""`oomtrace plan`: its figures against PyTorch's own counters on the simulated GPU."""

import importlib.util
import json
from pathlib import Path

import pytest
from harness import OOMTRACE, run

BENCH = Path(__file__).resolve().parent.parent / "bench"


def load(name):
    spec = importlib.util.spec_from_file_location(name, BENCH / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


plan_error = load("plan_error")
LLAMA = plan_error.LLAMA | {"num_hidden_layers": 2, "hidden_size": 512, "intermediate_size": 1024}
POINTS = [
    plan_error.gpt(2, 384, 2, 512, "amp-bf16", 1),
    plan_error.gpt(3, 512, 4, 512, "fp32", 4, dropout=0.1, bias=True),
    plan_error.gpt(4, 512, 8, 512, "amp-bf16", 4),
    plan_error.gpt(4, 512, 4, 1024, "amp-bf16", 2, checkpointing=True),
]


def plan(*arguments):
    return run([OOMTRACE, "plan", *arguments])


def test_the_peak_is_what_pytorch_counts():
    for point, truth in zip(POINTS, plan_error.truths(POINTS, "a100-80gb"), strict=True):
        said = plan_error.plan(point, "a100-80gb")["breakdown"]
        assert said["peak_allocated"] == pytest.approx(truth["allocated"], rel=0.01), point
        assert said["peak_reserved"] == pytest.approx(truth["reserved"], rel=0.03), point


def test_what_is_said_to_fit_runs_on_that_card():
    point = plan_error.gpt(4, 512, 1, 512, "amp-bf16", 1, effective=16)
    card = plan_error.plan(point, "4GiB")["cards"][0]
    point |= {"batch": card["largest_micro_batch"], "accumulation": card["accumulation"]}
    (truth,) = plan_error.truths([point], "4GiB")
    assert "allocated" in truth
    assert point["batch"] * point["accumulation"] >= 16


def test_the_parts_add_up():
    breakdown = json.loads(plan("--gpu", "rtx4070", "--format", "json").stdout)["breakdown"]
    parts = sum(value for key, value in breakdown.items() if not key.startswith("peak"))
    assert parts == breakdown["peak_allocated"]


def test_a_configuration_of_nanogpt_is_read_and_not_run(tmp_path):
    marker = tmp_path / "ran"
    config = tmp_path / "train_x.py"
    config.write_text(f"import os\nopen({str(marker)!r}, 'w')\nbatch_size = 3\nn_layer = 2\nblock_size = 256\n")
    done = plan(config, "--gpu", "rtx4070", "--eager", "--format", "json")
    report = json.loads(done.stdout)
    assert report["micro_batch"] == 3 and report["effective_batch"] == 120
    assert not marker.exists()


@pytest.mark.parametrize(
    "arguments, expected",
    [
        (["--gpu", "rtx9999"], "no such card"),
        (["--precision", "int3"], "amp-bf16"),
        (["--hidden", "770"], "not a multiple"),
        (["nothing.json"], "cannot read"),
        (["--batches", "1,x"], "--batches"),
        (["--gpu", ","], "--gpu ,: expected a card or a size"),
        (["--kv-heads", "4"], "--kv-heads: GPT has none; it is for Llama"),
        (["--nanochat-depth", "4", "--dropout", "0.1"], "--dropout: nanochat has none"),
        (["--effective-batch", "512", "--accumulation", "4"], "--effective-batch"),
    ],
)
def test_wrong_arguments_say_what_was_expected(arguments, expected):
    done = plan(*arguments)
    assert done.status == 1
    assert expected in done.stderr


def test_optimizers_that_are_listed_are_taken():
    listed = plan("--optimizer", "x").stderr.split("expected ")[1].split("\n")[0].split(", ")
    assert "muon" not in listed
    for name in listed:
        assert plan("--optimizer", name, "--layers", "1", "--gpu", "rtx4070").status == 0


def test_a_flag_that_the_model_does_not_have_is_refused(tmp_path):
    llama, gpt2 = tmp_path / "llama.json", tmp_path / "gpt2.json"
    llama.write_text(json.dumps(LLAMA))
    gpt2.write_text(json.dumps({"model_type": "gpt2"}))
    for config, flags in (
        (llama, ["--dropout", "0.1"]),
        (llama, ["--bias"]),
        (gpt2, ["--kv-heads", "4"]),
        (gpt2, ["--bias"]),
    ):
        done = plan(config, *flags)
        assert (done.status, done.stdout) == (1, "")
        assert f"{flags[0]}: " in done.stderr


def test_a_folder_stands_for_its_config(tmp_path):
    done = plan(tmp_path)
    assert done.status == 1 and "is a folder without a config.json" in done.stderr
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    assert "Transformers, gpt2" in plan(tmp_path, "--gpu", "rtx4070").stdout


def test_a_card_named_twice_is_one_row_and_one_where_nothing_fits_shows_no_figures():
    done = plan("--gpu", "RTX-4070,rtx4070,1GiB,1GiB", "--batches", "1")
    rows = [line.split() for line in done.stdout.splitlines() if line.startswith(("rtx4070", "RTX", "1GiB "))]
    assert [row[0] for row in rows] == ["rtx4070", "1GiB"]
    # Name, memory, "none", and the peak of micro-batch 1.
    assert len(rows[1]) == 6 and rows[1][3] == "none"


def test_an_architecture_that_is_not_known_is_named(tmp_path):
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"model_type": "mamba"}))
    done = plan(config)
    assert done.status == 1 and "mamba is not modelled" in done.stderr


def test_nanochat_depth_gives_the_parameters_of_its_script():
    done = plan("--nanochat-depth", "6", "--gpu", "h100", "--format", "json")
    assert json.loads(done.stdout)["parameters"] == 73531538


def test_nanochat_keeps_the_tokens_of_a_step():
    def sequences(*flags):
        done = plan("--nanochat-depth", "4", "--gpu", "h100", "--format", "json", *flags)
        return json.loads(done.stdout)["effective_batch"]

    assert sequences() == sequences("--batch-size", "8") == 256
    assert sequences("--seq", "1024") == 512
    assert sequences("--batch-size", "8", "--accumulation", "2") == 16


@pytest.mark.slow
def test_transformers_configurations():
    points = [
        {"config": config, "precision": precision, "batch": 2, "sequence": 512, "accumulation": 1}
        for config in (LLAMA, plan_error.GPT2)
        for precision in ("amp-bf16", "bf16", "fp32")
        if (config, precision) != (LLAMA, "fp32")  # grouped heads in float32 are refused
    ]
    for point, truth in zip(points, plan_error.truths(points, "a100-80gb"), strict=True):
        said = plan_error.plan(point, "a100-80gb")["breakdown"]
        assert said["peak_allocated"] == pytest.approx(truth["allocated"], rel=0.03), point
