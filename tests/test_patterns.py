"""One script for each way to die: the verdict's pattern, line and numbers against what is known independently."""

import json

import pytest
from harness import GIB, MIB, SCRIPTS, assert_adds_up, lines_with

TRUTH = SCRIPTS.parent / "truth.py"


def assert_died(job, verdict, pattern):
    assert job.status == 1, job.stderr[-2000:]
    assert verdict.status == 3
    assert verdict.pattern == pattern, json.dumps(verdict.report, indent=1)[:6000]
    assert_adds_up(verdict.report)
    assert_same_numbers_as_pytorch(job, verdict)


def segment_for(block):
    """What PyTorch asks of the device for a block (CUDACachingAllocator's get_allocation_size)."""
    if block <= MIB:
        return 2 * MIB
    if block < 10 * MIB:
        return 20 * MIB
    return -(-block // (2 * MIB)) * 2 * MIB


def assert_same_numbers_as_pytorch(job, verdict):
    """The report of the refusal agrees with the text of PyTorch's own OutOfMemoryError (two decimals)."""
    requested, allocated, unallocated = job.refused

    def close(value, printed):
        return abs(value - printed) <= (0.006 * GIB if printed >= GIB else 0.006 * MIB)

    block = -(-verdict.out_of_memory["tensor_bytes"] // 512) * 512
    assert close(segment_for(block), requested), verdict.out_of_memory
    assert verdict.out_of_memory["requested"] in (block, segment_for(block))
    assert close(verdict.device["tensors"], allocated)
    assert close(verdict.device["cache"], unallocated)


def assert_culprit(verdict, script, snippet):
    culprit = verdict.culprit
    assert culprit["file"].endswith(script.name), culprit
    assert culprit["line"] in lines_with(script, snippet), culprit


def test_weights_larger_than_the_card(dryrun, analyze):
    script = SCRIPTS / "at_start_weights.py"
    job = dryrun(script, gpu="1GiB")
    verdict = analyze(job)
    assert_died(job, verdict, "at_start")
    assert_culprit(verdict, script, 'model.to("cuda")')
    assert verdict.culprit["shape"] == [4096, 4096]
    assert verdict.culprit["bytes"] == 4096 * 4096 * 4
    assert verdict.steps_completed == 0
    assert verdict.categories["parameter"] > 0.9 * verdict.device["tensors"]


def test_first_forward_too_large(dryrun, analyze):
    script = SCRIPTS / "first_batch_transformer.py"
    job = dryrun(script, gpu="2GiB")
    verdict = analyze(job)
    assert_died(job, verdict, "first_batch")
    # batch x heads x tokens x tokens of float32: the scores, or their softmax
    assert verdict.culprit["shape"] in ([64, 8, 512, 512], [512, 512, 512])
    assert_culprit(verdict, script, "scores")
    assert verdict.out_of_memory["phase"] == "forward"
    assert verdict.categories["activation"] > 0.8 * verdict.device["tensors"]


def test_optimizer_state_does_not_fit(dryrun, analyze):
    script = SCRIPTS / "first_batch_optimizer.py"
    # 10 matrices of 36 MiB, as much of gradients: 720 MiB; Adam adds 720 MiB more.
    job = dryrun(script, gpu="1.3GiB")
    verdict = analyze(job)
    assert_died(job, verdict, "first_batch")
    assert verdict.out_of_memory["phase"] == "optimizer_step"
    assert verdict.steps_completed == 0
    assert_culprit(verdict, script, "optimizer.step()")
    weights = 10 * 3072 * 3072 * 4
    assert verdict.categories["parameter"] == weights
    assert verdict.categories["gradient"] == weights


@pytest.mark.parametrize(
    ("name", "snippets"),
    [
        ("leak_losses.py", ("F.max_pool2d(F.relu(", "model(images)", "clean_losses.append")),
        ("leak_outputs.py", ("self.model(x)", "self.history.append")),
        ("leak_retained_graph.py", ("F.max_pool2d(F.relu(", "model(images)", "losses.append")),
    ],
)
def test_leaks(dryrun, analyze, name, snippets):
    script = SCRIPTS / name
    job = dryrun(script, gpu="1GiB")
    verdict = analyze(job)
    assert_died(job, verdict, "gradual_leak")
    truth = dryrun(TRUTH, "30", script, gpu="h200", record=False)
    allocated = json.loads(truth.stdout.splitlines()[-1])
    per_step = (allocated[-1] - allocated[9]) / (len(allocated) - 10)
    assert verdict.leak["bytes_per_step"] == pytest.approx(per_step, rel=0.02)
    lines = [line for snippet in snippets for line in lines_with(script, snippet)]
    assert verdict.culprit["file"].endswith(name)
    assert verdict.culprit["line"] in lines, verdict.culprit
    assert verdict.leak["steps_to_oom"] == 0


def test_leaked_outputs_name_their_holder(dryrun, analyze):
    verdict = analyze(dryrun(SCRIPTS / "leak_outputs.py", gpu="1GiB"))
    assert "history" in verdict.leak["holder"] + verdict.culprit["holder"]


def test_evaluation_needs_more_than_training(dryrun, analyze):
    script = SCRIPTS / "eval_spike.py"
    job = dryrun(script, gpu="1GiB")
    verdict = analyze(job)
    assert_died(job, verdict, "eval_spike")
    assert_culprit(verdict, script, "predictions = model(images)")
    assert verdict.out_of_memory["phase"] == "evaluation"
    assert verdict.steps_completed == 8


def test_healthy(dryrun, analyze):
    job = dryrun(SCRIPTS / "healthy.py", gpu="2GiB")
    assert job.status == 0, job.stderr[-2000:]
    verdict = analyze(job)
    assert verdict.status == 0
    assert verdict.pattern == "healthy"
    assert verdict.steps_completed == 60
    assert verdict.leak["bytes_per_step"] == 0
    assert verdict.peak["bytes"] > 0
    assert not verdict.out_of_memory["happened"]
    assert_adds_up(verdict.report)


def test_one_long_batch(dryrun, analyze):
    job = dryrun(SCRIPTS / "batch_outlier.py", gpu="1GiB")
    verdict = analyze(job)
    assert_died(job, verdict, "batch_outlier")
    assert verdict.steps_completed == 12


def test_a_copy_of_the_model_late(dryrun, analyze):
    script = SCRIPTS / "late_allocation.py"
    # 8 matrices of 16 MiB: 512 MiB with gradients and Adam's state, of which the step's temporaries take 80 MiB more;
    # the three copies need 384 MiB.
    job = dryrun(script, gpu="940MiB")
    verdict = analyze(job)
    assert_died(job, verdict, "late_allocation")
    assert_culprit(verdict, script, "copy.deepcopy(model)")


def test_other_processes_hold_the_card(dryrun, analyze):
    held = 3 * GIB
    job = dryrun(SCRIPTS / "healthy.py", gpu="3.25GiB", other=str(held))
    verdict = analyze(job)
    assert job.status == 1, job.stderr[-2000:]
    assert verdict.pattern == "other_process"
    assert verdict.device["other_processes"] == held
    assert_adds_up(verdict.report)
