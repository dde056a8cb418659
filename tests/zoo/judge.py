"""A report beside the label of its script: what is right, and what all of them come to."""

import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

PATTERNS = [
    "at_start",
    "first_batch",
    "gradual_leak",
    "eval_spike",
    "fragmentation",
    "batch_outlier",
    "other_process",
    "late_allocation",
    "healthy",
]
ASPECTS = ("pattern", "cause", "line", "holder", "first fix")


@dataclass
class Score:
    """`right`: of each aspect True or False, None where the label asks nothing."""

    label: object
    report: dict
    right: dict = field(default_factory=dict)
    found: dict = field(default_factory=dict)
    # Recorded device allocations that the model of the allocator reproduced, and all; None: not replayed.
    fidelity: tuple | None = None

    @property
    def misses(self):
        return [aspect for aspect in ASPECTS if self.right[aspect] is False]


def _first_id(entries):
    return entries[0]["id"] if entries else "none"


def judge(label, report):
    score = Score(label, report)
    culprit = report["culprit"]
    in_script = Path(culprit["file"]).name == label.script.name
    line = int(culprit["line"])
    holder = culprit["holder"]
    score.found = {
        "pattern": report["pattern"],
        "cause": _first_id(report["causes"]),
        "line": f"{Path(culprit['file']).name}:{line}",
        "holder": holder or "nobody",
        "first fix": _first_id(report["fixes"]),
    }
    right = dict.fromkeys(ASPECTS)
    right["pattern"] = report["pattern"] == label.pattern
    if label.pattern == "healthy":
        claims_leak = int(report["leak"]["bytes_per_step"]) > 0
        right["pattern"] = right["pattern"] and claims_leak == label.leaks
        score.found["pattern"] += ", leak" if claims_leak else ""
    else:
        right["cause"] = score.found["cause"] in label.cause
        right["first fix"] = score.found["first fix"] in label.fix
    if label.pattern != "healthy" or label.leaks:
        if label.lines:
            right["line"] = in_script and line in label.lines
        if label.holder:
            right["holder"] = holder.removeprefix("graph of ").startswith(tuple(label.holder))
        elif holder:
            right["holder"] = False
    score.right = right
    said = re.search(r"Replay fidelity: (\d+) of (\d+) device allocations", " ".join(report["evidence"]))
    score.fidelity = (int(said[1]), int(said[2])) if said else None
    return score


def share(scores, aspect):
    """How many are right, and of how many that was asked."""
    asked = [score.right[aspect] for score in scores if score.right[aspect] is not None]
    return sum(asked), len(asked)


def confusion(scores):
    """(label, verdict) -> how often."""
    return Counter((score.label.pattern, score.report["pattern"]) for score in scores)


def calibration(scores, edges=(0.0, 0.6, 0.8, 0.9, 0.95, 1.01)):
    """For each bin of stated confidence: its edges, the mean stated, the right ones, all."""
    for low, high in zip(edges, edges[1:], strict=False):
        inside = [score for score in scores if low <= score.report["confidence"] < high]
        if inside:
            stated = sum(score.report["confidence"] for score in inside) / len(inside)
            yield low, high, stated, sum(score.right["pattern"] for score in inside), len(inside)
