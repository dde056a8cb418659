"""The zoo's figures as Markdown, for docs/zoo.md and the terminal."""

from zoo.judge import ASPECTS, PATTERNS, calibration, confusion, share


def table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines) + "\n"


def shares_table(scores):
    rows = []
    for aspect in ASPECTS:
        right, asked = share(scores, aspect)
        rows.append([aspect, right, asked, f"{100 * right / asked:.0f} %" if asked else ""])
    return table(["aspect", "right", "asked", "share"], rows)


def confusion_table(scores):
    counted = confusion(scores)
    rows = [[f"`{true}`", *(counted[true, said] or "" for said in PATTERNS)] for true in PATTERNS]
    return table(["label \\ verdict", *(f"`{pattern}`" for pattern in PATTERNS)], rows)


def calibration_table(scores):
    rows = [
        [f"{low:.2f} to {min(high, 1):.2f}", f"{stated:.2f}", f"{right / count:.2f}", count]
        for low, high, stated, right, count in calibration(scores)
    ]
    return table(["confidence stated", "mean", "pattern right", "verdicts"], rows)


def misses_table(scores):
    rows = []
    for score in scores:
        for aspect in score.misses:
            wanted = {
                "pattern": [score.label.pattern],
                "cause": score.label.cause,
                "line": [str(line) for line in score.label.lines],
                "holder": score.label.holder or ["nobody"],
                "first fix": score.label.fix,
            }[aspect]
            said = score.found[aspect] or "nothing"
            rows.append([f"`{score.label.name}`", aspect, ", ".join(wanted), said])
    return table(["script", "aspect", "label", "verdict"], rows) if rows else "None.\n"


def fidelity_sentence(scores):
    replayed = [score.fidelity for score in scores if score.fidelity]
    whole = sum(matched == of for matched, of in replayed)
    matched, of = (sum(column) for column in zip(*replayed, strict=True)) if replayed else (0, 0)
    return (
        f"Replay: in {whole} of {len(replayed)} traces the model of the allocator gave every device allocation as "
        f"recorded ({matched} of {of} allocations).\n"
    )


def claims_sentence(scores):
    healthy = [score for score in scores if score.label.pattern == "healthy"]
    wrong = sum(score.right["pattern"] is False for score in healthy)
    return f"Of {len(healthy)} healthy runs {wrong} were said to die or to leak what they do not.\n"


def all_tables(scores):
    parts = [
        ("Right", shares_table(scores)),
        ("Patterns", confusion_table(scores)),
        ("Calibration", calibration_table(scores) + "\n" + fidelity_sentence(scores) + "\n" + claims_sentence(scores)),
        ("Misses", misses_table(scores)),
    ]
    return "\n".join(f"### {title}\n\n{text}" for title, text in parts)
