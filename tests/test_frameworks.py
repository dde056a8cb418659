"""Training code that nobody here wrote: it dies, and is diagnosed."""

import pytest
from harness import SCRIPTS, assert_adds_up, lines_with

TRAINER_FLAGS = ["--per_device_train_batch_size", "32", "--gradient_accumulation_steps", "1"]


def test_transformers_trainer(dryrun, analyze, tmp_path):
    script = SCRIPTS / "hf_trainer.py"
    job = dryrun(script, *TRAINER_FLAGS, "--output_dir", tmp_path, gpu="4GiB")
    assert job.status == 1, job.stderr[-2000:]
    verdict = analyze(job)
    assert (verdict.status, verdict.pattern) == (3, "first_batch")
    assert_adds_up(verdict.report)
    # 32 sequences of 512 (or 511, shifted) tokens over 16,000 words: the logits
    assert 16000 in verdict.culprit["shape"], verdict.culprit
    assert any("per_device_train_batch_size" in fix["change"] for fix in verdict.fixes), verdict.fixes


def test_timm_vision_transformer(dryrun, analyze):
    script = SCRIPTS / "timm_vit.py"
    job = dryrun(script, gpu="4GiB")
    assert job.status == 1, job.stderr[-2000:]
    verdict = analyze(job)
    assert (verdict.status, verdict.pattern) == (3, "first_batch")
    assert_adds_up(verdict.report)
    assert verdict.culprit["line"] in lines_with(script, "output = model(images)"), verdict.culprit
    assert verdict.culprit["shape"][0] in (256, 256 * 197), verdict.culprit
    assert verdict.culprit["module"].startswith("blocks."), verdict.culprit


def test_torchvision_resnet(dryrun, analyze):
    script = SCRIPTS / "torchvision_resnet.py"
    job = dryrun(script, "--batch-size", "128", gpu="2GiB")
    assert job.status == 1, job.stderr[-2000:]
    verdict = analyze(job)
    assert (verdict.status, verdict.pattern) == (3, "first_batch")
    assert_adds_up(verdict.report)
    assert verdict.culprit["line"] in lines_with(script, "output = model(image)"), verdict.culprit


@pytest.mark.parametrize("name", ["hf_trainer.py", "timm_vit.py", "torchvision_resnet.py"])
def test_the_same_fit_on_a_large_card(dryrun, analyze, name, tmp_path):
    arguments = ["--output_dir", tmp_path] if name == "hf_trainer.py" else []
    job = dryrun(SCRIPTS / name, *arguments, gpu="a100-80gb")
    assert job.status == 0, job.stderr[-2000:]
    verdict = analyze(job)
    assert (verdict.status, verdict.pattern) == (0, "healthy")
    assert verdict.steps_completed == (4 if name == "hf_trainer.py" else 3)
