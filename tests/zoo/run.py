"""Runs the zoo and prints what the analyzer got right.

    python tests/zoo/run.py [--proof] [--docs] [NAME…]      NAME: a script without ".py"; all of them by default

--proof also runs each script with its label's fix: it must come to its end on the same card.
--docs writes the tables into docs/zoo.md.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from harness import REPOSITORY
from zoo.judge import judge
from zoo.keeper import Keeper, last_words
from zoo.label import all_labels
from zoo.tables import all_tables

DOCS = REPOSITORY / "docs" / "zoo.md"
MARK = "<!-- what follows is written by tests/zoo/run.py --docs -->\n"


def visit(keeper, label, proof):
    """The score of a script, and why its label is not proven ("" where it is)."""
    job = keeper.start(label)
    died = label.pattern != "healthy"
    why = "" if job.status != 0 or not died else "it came to its end without the fix"
    if job.status != 0 and not died:
        why = last_words(job)
    score = judge(label, keeper.analyze(job))
    job.trace.unlink()
    if proof and died and not why:
        why = keeper.proven(label)
    return score, why


def show(score, why, seconds):
    told = [f"{aspect}: {score.found[aspect]}" for aspect in score.misses]
    said = "; ".join(told + ([f"NOT PROVEN: {why}"] if why else [])) or "right"
    peak = int(score.report["peak"]["bytes"]) >> 20
    print(f"{score.label.name:28} {seconds:4.1f} s {peak:5} MiB  {score.report['confidence']:.2f}  {said}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--proof", action="store_true")
    parser.add_argument("--docs", action="store_true")
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    labels = [label for label in all_labels() if not options.names or label.name in options.names]
    keeper, scores, unproven = Keeper(Path(tempfile.mkdtemp())), [], 0
    for label in labels:
        begin = time.monotonic()
        score, why = visit(keeper, label, options.proof)
        show(score, why, time.monotonic() - begin)
        scores.append(score)
        unproven += why != ""
    keeper.close()
    tables = all_tables(scores)
    print("\n" + tables)
    if options.docs:
        DOCS.write_text(DOCS.read_text().split(MARK)[0] + MARK + "\n" + tables)
    sys.exit(1 if unproven else 0)


if __name__ == "__main__":
    main()
