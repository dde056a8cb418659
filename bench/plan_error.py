"""How far `oomtrace plan` is off: prints the table of docs/plan.md.

    python bench/plan_error.py [--gpu a100-80gb] [--only eager|compiled|transformers|boundary]

Each point is trained for three steps on the simulated GPU, and PyTorch's own counters are the truth. The boundary part
takes what the plan calls the largest micro-batch that fits on a small card, and runs it there.
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OOMTRACE = Path(os.environ.get("OOMTRACE_BUILD", ROOT / "build")) / "bin" / "oomtrace"
LLAMA = {
    "model_type": "llama",
    "hidden_size": 1024,
    "intermediate_size": 2816,
    "num_hidden_layers": 4,
    "num_attention_heads": 16,
    "num_key_value_heads": 4,
    "vocab_size": 32000,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": False,
}
QWEN = LLAMA | {"model_type": "qwen2", "vocab_size": 151936, "tie_word_embeddings": True, "num_hidden_layers": 6}
QWEN3 = LLAMA | {"model_type": "qwen3", "head_dim": 128, "num_hidden_layers": 3}
MISTRAL = LLAMA | {"model_type": "mistral", "sliding_window": None, "hidden_size": 768, "intermediate_size": 2048}
GPT2 = {"model_type": "gpt2", "n_layer": 4, "n_head": 12, "n_embd": 768, "vocab_size": 50257, "n_positions": 1024}


def gpt(layers, hidden, batch, sequence, precision, accumulation, **more):
    heads = hidden // 64
    return {
        "layers": layers,
        "heads": heads,
        "hidden": hidden,
        "batch": batch,
        "sequence": sequence,
        "precision": precision,
        "accumulation": accumulation,
    } | more


def eager_points():
    shapes = [(2, 384, 1, 256), (4, 512, 8, 512), (6, 768, 2, 1024), (12, 768, 4, 1024), (24, 1024, 1, 1024)]
    for (layers, hidden, batch, sequence), precision, accumulation in itertools.product(
        shapes, ("amp-bf16", "amp-fp16", "fp32"), (1, 4)
    ):
        yield gpt(layers, hidden, batch, sequence, precision, accumulation)
    yield gpt(6, 768, 4, 1024, "amp-bf16", 2, dropout=0.1, bias=True)
    yield gpt(6, 768, 4, 1024, "fp32", 2, dropout=0.2, bias=True)
    yield gpt(6, 384, 64, 256, "amp-bf16", 1, dropout=0.2, vocabulary=65)
    for layers, batch in ((4, 2), (12, 4), (12, 8)):
        yield gpt(layers, 768, batch, 1024, "amp-bf16", 2, checkpointing=True)


def compiled_points():
    for layers, hidden, batch, sequence, precision, accumulation in (
        (2, 384, 1, 256, "amp-bf16", 1),
        (4, 512, 8, 512, "amp-bf16", 2),
        (6, 768, 2, 1024, "amp-bf16", 4),
        (12, 768, 4, 1024, "amp-bf16", 2),
        (12, 768, 16, 1024, "amp-bf16", 2),
        (4, 512, 4, 512, "fp32", 1),
        (6, 768, 4, 1024, "fp32", 2),
    ):
        yield gpt(layers, hidden, batch, sequence, precision, accumulation, compile=True)
    yield gpt(4, 768, 8, 1024, "amp-bf16", 2, compile=True, dropout=0.1, bias=True)


def transformers_points():
    for config, precision, (batch, sequence) in itertools.product(
        (LLAMA, QWEN, QWEN3, MISTRAL, GPT2), ("amp-bf16", "bf16", "fp32"), ((1, 512), (4, 1024))
    ):
        yield {"config": config, "precision": precision, "batch": batch, "sequence": sequence, "accumulation": 1}
    for optimizer in ("adamw", "adamw-loop", "sgd", "sgd-momentum"):
        yield {
            "config": LLAMA,
            "precision": "amp-bf16",
            "batch": 1,
            "sequence": 256,
            "accumulation": 2,
            "optimizer": optimizer,
        }
    for config in (LLAMA, GPT2):
        yield {
            "config": config,
            "precision": "bf16",
            "batch": 4,
            "sequence": 1024,
            "accumulation": 1,
            "checkpointing": True,
        }


def plan(point, gpu):
    """`oomtrace plan` for the point, as its JSON."""
    command = [OOMTRACE, "plan", "--format", "json", "--gpu", gpu, "--precision", point["precision"]]
    command += ["--batch-size", point["batch"], "--seq", point["sequence"]]
    command += ["--optimizer", point.get("optimizer", "adamw-fused")]
    if point.get("effective"):
        command += ["--effective-batch", point["effective"]]
    else:
        command += ["--accumulation", point["accumulation"]]
    for flag in ("compile", "checkpointing", "bias"):
        command += [f"--{flag}"] if point.get(flag) else []
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        if "config" in point:
            json.dump(point["config"], file)
            file.flush()
            command += [file.name]
        else:
            command += ["--layers", point["layers"], "--heads", point["heads"], "--hidden", point["hidden"]]
            command += ["--vocab", point.get("vocabulary", 50304), "--dropout", point.get("dropout", 0.0)]
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout)


def truths(points, gpu):
    """What PyTorch counted for each, on the simulated card."""
    command = [OOMTRACE, "dryrun", "--no-record", "--gpu", gpu, "--", sys.executable, ROOT / "bench" / "plan_points.py"]
    # Inductor's cache does not tell a model under autocast from one without.
    environment = os.environ | {"TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1"}
    with subprocess.Popen(
        [str(word) for word in command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    ) as worker:
        for point in points:
            worker.stdin.write(json.dumps(point) + "\n")
            worker.stdin.flush()
            yield json.loads(worker.stdout.readline())
        worker.stdin.close()


def name(point):
    shape = point.get("config", {}).get("model_type") or f"{point['layers']} x {point['hidden']}"
    words = [shape, f"b={point['batch']}", f"T={point['sequence']}", point["precision"], f"acc={point['accumulation']}"]
    words += [word for word in ("compile", "checkpointing", "dropout", "bias", "optimizer") if point.get(word)]
    return " ".join(words)


def error_table(title, points, gpu):
    allocated, reserved = [], []
    for point, truth in zip(points, truths(points, gpu), strict=True):
        if "allocated" not in truth:
            print(f"  {name(point):60s} {truth}", flush=True)
            continue
        said = plan(point, gpu)["breakdown"]
        allocated.append(said["peak_allocated"] / truth["allocated"] - 1)
        reserved.append(said["peak_reserved"] / truth["reserved"] - 1)
        print(f"  {name(point):60s} {allocated[-1]:+8.2%} {reserved[-1]:+8.2%}", flush=True)
    for what, errors in (("allocated", allocated), ("reserved", reserved)):
        sizes = sorted(abs(error) for error in errors)
        p95 = sizes[min(len(sizes) - 1, int(0.95 * len(sizes)))]
        print(
            f"{title}, {what}: {len(sizes)} points, median {statistics.median(sizes):.2%}, p95 {p95:.2%}, "
            f"worst {max(sizes):.2%}, lowest {min(errors):+.2%}"
        )


def boundary_table():
    died = tight = total = 0
    shapes = [(6, 512), (12, 768), (4, 1024)]
    for (layers, hidden), gpu, precision in itertools.product(
        shapes, ("6GiB", "rtx4060", "rtx3080", "rtx4070", "t4", "rtx4090"), ("amp-bf16", "fp32")
    ):
        point = gpt(layers, hidden, 1, 1024, precision, 1, effective=64)
        card = plan(point, gpu)["cards"][0]
        if card["largest_micro_batch"] == 0:
            continue
        point |= {"batch": card["largest_micro_batch"], "accumulation": min(card["accumulation"], 3)}
        (truth,) = truths([point], gpu)
        total += 1
        died += "died" in truth
        (next_truth,) = truths([point | {"batch": point["batch"] + 1}], gpu)
        tight += "died" in next_truth
        print(f"  {gpu:10s} {name(point):60s} {truth} next: {next_truth}", flush=True)
    print(f"boundary: {total} cards x models, died {died}; the next micro-batch died in {tight}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpu", default="a100-80gb")
    parser.add_argument("--only", choices=("eager", "compiled", "transformers", "boundary"))
    options = parser.parse_args()
    parts = {"eager": eager_points, "compiled": compiled_points, "transformers": transformers_points}
    for title, points in parts.items():
        if options.only in (None, title):
            error_table(title, list(points()), options.gpu)
    if options.only in (None, "boundary"):
        boundary_table()


if __name__ == "__main__":
    main()
