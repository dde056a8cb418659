"""examples/gpt on a simulated RTX 4070 (11.69 GiB, mostly 1.97 GiB held by others): figures known from a real card."""

import pytest
from harness import GIB, GPT, assert_adds_up, lines_with

CARD = {"gpu": "rtx4070", "other": "1.97GiB"}
LOGITS = 64 * 1024 * 50304 * 2  # bfloat16


def flags(batch, accumulation, **more):
    named = {"batch_size": batch, "gradient_accumulation_steps": accumulation, "block_size": 1024} | more
    return [f"--{name}={value}" for name, value in named.items()]


def short(batch, accumulation):
    """Enough to pass the birth of optimizer state; one evaluation batch of each split."""
    return flags(batch, accumulation, max_iters=2, eval_iters=1, compile=False)


def assert_batch_64_dies_in_the_loss_estimate(job, verdict):
    requested, allocated, _ = job.refused
    assert requested == pytest.approx(6.14 * GIB, abs=0.006 * GIB)
    assert (verdict.status, verdict.pattern) == (3, "at_start")
    assert verdict.steps_completed == 0
    assert verdict.out_of_memory["phase"] == "evaluation"
    assert verdict.out_of_memory["tensor_bytes"] == LOGITS
    assert verdict.out_of_memory["dtype"] == "bfloat16"
    assert verdict.culprit["shape"] in ([64, 1024, 50304], [65536, 50304])
    assert verdict.culprit["bytes"] == LOGITS
    assert verdict.device["other_processes"] == pytest.approx(1.97 * GIB, abs=4096)
    assert_adds_up(verdict.report)
    return allocated


def smallest_change_that_fits(verdict):
    return next(fix for fix in verdict.fixes if fix["fits"] and fix["id"] == "micro_batch")


def test_batch_64_eager(dryrun, analyze):
    job = dryrun(GPT, *flags(64, 8, eval_iters=2, max_iters=1, compile=False), **CARD)
    verdict = analyze(job)
    assert_batch_64_dies_in_the_loss_estimate(job, verdict)
    culprit = verdict.culprit
    assert culprit["file"].endswith("model.py"), culprit
    lines = lines_with(GPT.parent / "model.py", "self.lm_head(x)") + lines_with(
        GPT.parent / "model.py", "F.cross_entropy"
    )
    assert culprit["line"] in lines, culprit


def test_a_smaller_micro_batch_keeps_the_effective_batch_and_fits(dryrun, analyze):
    job = dryrun(GPT, *flags(64, 8, eval_iters=2, max_iters=1, compile=False), **CARD)
    fix = smallest_change_that_fits(analyze(job))
    assert fix["keeps_effective_batch"]
    changed = dict(word[2:].split("=") for word in fix["change"].split() if word.startswith("--"))
    batch, accumulation = int(changed["batch_size"]), int(changed["gradient_accumulation_steps"])
    assert batch * accumulation == 64 * 8
    # Three micro-batches an iteration instead of all of them: memory repeats from the second on.
    retry = dryrun(GPT, *short(batch, 3), **CARD)
    assert retry.status == 0, retry.stderr[-2000:]
    assert analyze(retry).pattern == "healthy"


@pytest.mark.slow
def test_batch_64_compiled(dryrun, analyze):
    job = dryrun(GPT, *flags(64, 8, eval_iters=2, max_iters=1), **CARD)
    verdict = analyze(job)
    allocated = assert_batch_64_dies_in_the_loss_estimate(job, verdict)
    assert allocated == pytest.approx(6.78 * GIB, abs=0.006 * GIB)
    assert verdict.culprit["shape"] == [65536, 50304]


@pytest.mark.slow
def test_batch_16_by_32_compiled_dies_in_the_first_batch(dryrun, analyze):
    job = dryrun(GPT, *flags(16, 32, eval_iters=1, max_iters=2), **CARD)
    verdict = analyze(job)
    assert (verdict.status, verdict.pattern) == (3, "first_batch")
    assert verdict.steps_completed == 0
    assert_adds_up(verdict.report)


def test_batch_8_dies_in_the_second_iteration_and_expandable_segments_make_it_fit(dryrun, analyze):
    """The change usually advised for a 12 GB card with nothing else on it, without torch.compile: 8 instead of 16."""
    job = dryrun(GPT, *short(8, 4), gpu="rtx4070")
    _, _, unallocated = job.refused
    assert unallocated == pytest.approx(2.4 * GIB, abs=0.05 * GIB)
    verdict = analyze(job)
    assert (verdict.status, verdict.pattern) == (3, "first_batch")
    assert verdict.steps_completed == 1
    assert verdict.device["cache"] == pytest.approx(unallocated, abs=0.006 * GIB)
    assert any(cause["id"] == "fragmentation" for cause in verdict.causes), verdict.causes
    first = verdict.fixes[0]
    assert (first["id"], first["fits"]) == ("expandable_segments", True), verdict.fixes
    assert_adds_up(verdict.report)
    for batch in (8, 10):
        retry = dryrun(GPT, *short(batch, 4), gpu="rtx4070", env={"PYTORCH_ALLOC_CONF": "expandable_segments:True"})
        assert retry.status == 0, retry.stderr[-2000:]
        assert analyze(retry).pattern == "healthy"


def test_batch_7_dies_in_the_second_iteration_of_fragmentation(dryrun, analyze):
    """The optimizer's state, born in the first step, is cut out of the cache that the next forward pass needs."""
    job = dryrun(GPT, *short(7, 3), **CARD)
    _, allocated, unallocated = job.refused
    verdict = analyze(job)
    assert (verdict.status, verdict.pattern) == (3, "first_batch")
    assert verdict.steps_completed == 1
    assert verdict.device["cache"] == pytest.approx(unallocated, abs=0.006 * GIB)
    assert verdict.device["cache"] > verdict.out_of_memory["requested"]
    assert any(cause["id"] == "fragmentation" for cause in verdict.causes), verdict.causes
    expandable = [fix for fix in verdict.fixes if "expandable_segments" in fix["change"]]
    assert expandable and expandable[0]["fits"], verdict.fixes
    assert_adds_up(verdict.report)
    retry = dryrun(GPT, *short(7, 3), env={"PYTORCH_ALLOC_CONF": "expandable_segments:True"}, **CARD)
    assert retry.status == 0, retry.stderr[-2000:]


@pytest.mark.slow
@pytest.mark.parametrize("batch", [8, 10])
def test_expandable_segments_make_it_fit_compiled(dryrun, batch):
    job = dryrun(
        GPT,
        *flags(batch, 4, eval_iters=1, max_iters=2),
        env={"PYTORCH_ALLOC_CONF": "expandable_segments:True"},
        **CARD,
    )
    assert job.status == 0, job.stderr[-2000:]


@pytest.mark.slow
def test_batch_4_by_128_compiled_fits(dryrun, analyze):
    job = dryrun(GPT, *flags(4, 8, eval_iters=1, max_iters=2), **CARD)
    assert job.status == 0, job.stderr[-2000:]
    assert analyze(job).pattern == "healthy"


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_other_precisions_train(dryrun, analyze, dtype):
    job = dryrun(GPT, *flags(2, 2, eval_iters=1, max_iters=2, compile=False, dtype=dtype), gpu="rtx4090")
    assert job.status == 0, job.stderr[-2000:]
    verdict = analyze(job)
    assert verdict.pattern == "healthy"
    assert verdict.steps_completed == 3
