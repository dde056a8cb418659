"""Runs scripts of the zoo on their cards, from one warm interpreter, and analyzes what they left."""

import json
import shutil

from harness import OOMTRACE, WarmInterpreter, assert_adds_up, run

# What the scripts import and what takes long.
MODULES = ("torchvision", "timm", "transformers.models.gpt2", "transformers.trainer", "accelerate", "torch.distributed")


def split_words(words):
    """Arguments and environment."""
    environment = dict(word.split("=", 1) for word in words if not word.startswith("-") and "=" in word)
    return [word for word in words if word.startswith("-") or "=" not in word], environment


def last_words(job):
    """Of the program; the recorder speaks after it."""
    said = [line for line in job.stderr.splitlines() if line.strip() and not line.startswith("oomtrace: ")]
    return said[-1][:200] if said else f"status {job.status}"


class Keeper:
    def __init__(self, folder):
        self.warm = WarmInterpreter(folder, modules=MODULES)

    def start(self, label, more=()):
        """The finished Job of the script, with the words of `more` beside its own."""
        arguments, environment = split_words([*label.run, *more])
        environment = {"OOMTRACE_SIM_OTHER": str(label.other)} | environment
        return self.warm.run(label.script, *arguments, capacity=label.card, environment=environment)

    def analyze(self, job):
        finished = run([OOMTRACE, "analyze", "--format", "json", job.trace])
        assert finished.status in (0, 3), finished.stderr
        report = json.loads(finished.stdout)
        assert_adds_up(report)
        return report

    def proven(self, label):
        """Why the label's fix does not make the script run to its end; "" where it does."""
        job = self.start(label, label.proof)
        job.trace.unlink()
        return "" if job.status == 0 else last_words(job)

    def close(self):
        self.warm.close()
        shutil.rmtree(self.warm.folder, ignore_errors=True)
