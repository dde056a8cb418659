"""A fix that the report says fits is applied and run on the same card: it must fit."""

import re

import pytest
from harness import SCRIPTS


def micro_batch(fix):
    """The new micro-batch: a flag of the change, or its first number that the sentence gives before "instead of"."""
    flag = re.search(r"--(?:per_device_train_)?batch[-_]size[ =](\d+)", fix["change"])
    words = re.search(r"(\d+) instead of", fix["change"])
    return int((flag or words).group(1))


def apply(fix, flag):
    """The arguments and the environment that carry out a fix, None where it needs an edit of the script."""
    if fix["id"] == "expandable_segments":
        return [], {"PYTORCH_ALLOC_CONF": "expandable_segments:True"}
    if fix["id"] == "micro_batch" and flag:
        expandable = "expandable_segments" in fix["change"]
        return [flag, micro_batch(fix)], {"PYTORCH_ALLOC_CONF": "expandable_segments:True"} if expandable else {}
    return None


@pytest.mark.parametrize(
    ("name", "arguments", "gpu", "flag"),
    [
        ("batch_outlier.py", [], "1GiB", None),
        ("first_batch_transformer.py", ["--batch-size", "64"], "2GiB", "--batch-size"),
        ("first_batch_optimizer.py", [], "1.3GiB", None),
        ("timm_vit.py", ["--batch-size", "256"], "4GiB", "--batch-size"),
        ("torchvision_resnet.py", ["--batch-size", "128"], "2GiB", "--batch-size"),
        ("hf_trainer.py", ["--per_device_train_batch_size", "32"], "4GiB", "--per_device_train_batch_size"),
    ],
)
def test_what_is_said_to_fit_fits(dryrun, analyze, name, arguments, gpu, flag, tmp_path):
    script = SCRIPTS / name
    if name == "hf_trainer.py":
        arguments = [*arguments, "--output_dir", tmp_path]
    report = analyze(dryrun(script, *arguments, gpu=gpu)).report
    runnable = [(fix, apply(fix, flag)) for fix in report["fixes"] if fix["fits"] and apply(fix, flag)]
    if flag:
        assert any(fix["id"] == "micro_batch" for fix, _ in runnable), report["fixes"]
    for fix, (more, environment) in runnable:
        retry = dryrun(script, *arguments, *more, gpu=gpu, env=environment)
        assert retry.status == 0, (fix, retry.stderr[-1500:])
        assert analyze(retry).pattern == "healthy"
