"""Measures what fixes promise: each is applied to the job that died, run on the same card, and compared.

    python tests/fixes/pairs.py [--json] [JOB…]

A job is first run on a large card. Then it is run on cards that are a share of what it needed, where it dies in one
phase or another; each fix of the report that knobs of the job can turn is turned, and the job is run again on that
card, and where it dies there on the large one.
"""

import json
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from harness import GIB, MIB, OOMTRACE, WarmInterpreter

JOBS = Path(__file__).resolve().parent / "jobs"
LARGE = 64 * GIB
CONTEXT = 64 * MIB
SHARES = (0.45, 0.7, 0.9)
EXPANDABLE = ["--settings", "expandable_segments:True"]

CORPUS = [
    ("mlp.py", ["--batch_size", 4096]),
    ("mlp.py", ["--batch_size", 65536, "--width", 2048]),
    ("mlp.py", ["--batch_size", 3000, "--width", 4096, "--depth", 6, "--optimizer", "Adam"]),
    ("mlp.py", ["--batch_size", 60000, "--width", 1700, "--optimizer", "SGD", "--autocast", 1]),
    ("convnet.py", ["--batch_size", 256]),
    ("convnet.py", ["--batch_size", 192, "--width", 48, "--depth", 3, "--optimizer", "SGD"]),
    ("language_model.py", ["--batch_size", 64, "--length", 512]),
    ("language_model.py", ["--batch_size", 96, "--depth", 10, "--autocast", 1]),
    ("language_model.py", ["--batch_size", 32, "--width", 1024, "--optimizer", "RMSprop"]),
    ("unet.py", ["--batch_size", 256]),
    ("unet.py", ["--batch_size", 120, "--width", 64, "--optimizer", "Adam"]),
    ("evaluation.py", ["--keep", "loss", "--width", 2048]),
    ("evaluation.py", ["--keep", "output", "--samples", 131072, "--width", 2048]),
    ("evaluation.py", ["--keep", "nothing", "--eval_batch_size", 65536, "--samples", 131072]),
    ("evaluation.py", ["--keep", "nothing", "--eval_batch_size", 65536, "--samples", 131072, "--no_grad", 1]),
    ("two_networks.py", ["--width", 2048]),
    ("two_networks.py", ["--adversarial", 1, "--width", 3000, "--batch_size", 20000]),
    ("recurrent.py", ["--batch_size", 384]),
    ("distillation.py", ["--optimizer", "SGD"]),
    ("unlike_lengths.py", []),
    ("distillation.py", ["--teacher_first", 0]),
    ("distillation.py", ["--eval_mode", 0, "--student_depth", 6]),
]


@dataclass
class Pair:
    job: str
    share: float
    pattern: str
    phase: str
    fix: str
    basis: str
    predicted: int
    real: int
    conditional: bool  # of a part: what the rest needs is the condition
    said: bool  # that it fits
    fits: bool

    @property
    def error(self):
        return (self.predicted - self.real) / self.real


def knobs_for(fix):
    """The arguments that carry a fix out; None where no knob does."""
    values = {setting["name"]: setting["value"] for setting in fix["settings"] if setting["kind"] == "value"}
    turned = [word for name, value in values.items() for word in (f"--{name}", value)]
    by_name = {
        "expandable_segments": EXPANDABLE,
        "no_grad": ["--no_grad", 1, "--freeze", 1],
        "move_to_cpu": ["--no_grad", 1, "--to_cpu", 1],
        "detach": ["--detach", 1],
        "fused_optimizer": ["--fused", 1],
        "activation_checkpointing": ["--checkpoint", 1],
        "bf16_states": ["--bf16", 1],
    }
    if fix["id"] == "micro_batch_expandable_segments":
        return turned + EXPANDABLE
    return turned or by_name.get(fix["id"])


def report_of(trace):
    finished = subprocess.run([OOMTRACE, "analyze", "--format", "json", trace], capture_output=True, text=True)
    assert finished.returncode in (0, 3), finished.stderr
    return json.loads(finished.stdout)


class Bench:
    def __init__(self, folder):
        self.warm = WarmInterpreter(folder, ["--context", "64MiB"])

    def run(self, job, arguments, capacity):
        done = self.warm.run(JOBS / job, *map(str, arguments), capacity=capacity)
        report = report_of(done.trace)
        done.trace.unlink()
        died = report["out_of_memory"]["happened"]
        assert died or done.status == 0, done.stderr[-1500:]
        return report, died

    def pairs(self, job, arguments, shares=SHARES):
        whole, died = self.run(job, arguments, LARGE)
        assert not died
        for share in shares:
            capacity = CONTEXT + int(whole["peak"]["reserved"] * share)
            report, died = self.run(job, arguments, max(capacity, 128 * MIB))
            if not died:
                continue
            for fix in report["fixes"]:
                knobs = knobs_for(fix)
                if knobs is None:
                    continue
                after, fails = self.run(job, [*arguments, *knobs], max(capacity, 128 * MIB))
                if fails:
                    after, again = self.run(job, [*arguments, *knobs], LARGE)
                    assert not again
                yield Pair(
                    f"{job} {' '.join(map(str, arguments))}",
                    share,
                    report["pattern"],
                    report["out_of_memory"]["phase"],
                    fix["id"],
                    fix["basis"],
                    fix["predicted_peak"],
                    after["peak"]["reserved"],
                    bool(fix["condition"]),
                    fix["fits"],
                    not fails,
                )

    def close(self):
        self.warm.close()


def quantile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0


def summary(pairs):
    for basis in sorted({pair.basis for pair in pairs}):
        of = [pair for pair in pairs if pair.basis == basis]
        errors = [abs(pair.error) for pair in of if not pair.conditional]
        said = [pair for pair in of if pair.said]
        wrong = sum(not pair.fits for pair in said)
        median, most = quantile(errors, 0.5), quantile(errors, 0.95)
        yield f"| {basis} | {len(of)} | {median:.1%} | {most:.1%} | {len(said)} | {wrong} |"


def main():
    chosen = [word for word in sys.argv[1:] if not word.startswith("--")]
    pairs = []
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        for job, arguments in CORPUS:
            if chosen and job not in chosen:
                continue
            for pair in bench.pairs(job, arguments):
                pairs.append(pair)
                wrong = "" if pair.fits or not pair.said else "  WRONG: said to fit"
                print(
                    f"{pair.job} x{pair.share} {pair.pattern}/{pair.phase}: {pair.fix} ({pair.basis}) predicted "
                    f"{pair.predicted / MIB:.0f} MiB, real {pair.real / MIB:.0f} ({pair.error:+.1%}), "
                    f"said {pair.said}, fits {pair.fits}{wrong}",
                    flush=True,
                )
        bench.close()
    print("\n| basis | pairs | median error | 95 % below | said to fit | did not |\n|---|---|---|---|---|---|")
    print("\n".join(summary(pairs)))
    if "--json" in sys.argv:
        print(json.dumps([asdict(pair) for pair in pairs]))


if __name__ == "__main__":
    main()
