"""docs/cases.md: each command there runs, and prints each line that is shown."""

import os
import sys
from pathlib import Path

import pytest
from harness import OOMTRACE, REPOSITORY, run

# The message of the second case.
ERROR = (
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 6.14 GiB. GPU 0 has a total capacity of 11.69 GiB "
    "of which 2.68 GiB is free. Including non-PyTorch memory, this process has 7.04 GiB memory in use. Of the "
    "allocated memory 6.78 GiB is allocated by PyTorch, and 35.72 MiB is reserved by PyTorch but unallocated.\n"
)


def shown():
    """(command, [consecutive lines, ...]) for each command of the page, in its order."""
    cases, fenced, command = [], False, ""
    for line in (REPOSITORY / "docs" / "cases.md").read_text().splitlines():
        if line == "```":
            fenced = not fenced
        elif fenced and (line.startswith("$ ") or command.endswith("\\")):
            command = command.removesuffix("\\") + line.removeprefix("$ ").strip() if command else line[2:]
            if not command.endswith("\\"):
                cases.append((command, [[]]))
                command = ""
        elif fenced and line == "…":
            cases[-1][1].append([])
        elif fenced:
            cases[-1][1][-1].append(line)
    return cases


def missing(pieces, printed):
    """The first piece whose lines do not follow each other, behind those of the piece before; none: []."""
    at = 0
    for piece in pieces:
        size = len(piece)
        starts = [i for i in range(at, len(printed) - size + 1) if printed[i : i + size] == piece]
        if not starts:
            return piece
        at = starts[0] + size
    return []


def check(folder, needs_torch):
    (folder / "examples").symlink_to(REPOSITORY / "examples")
    (folder / "error.txt").write_text(ERROR)
    path = f"{OOMTRACE.parent}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    checked = 0
    for command, pieces in shown():
        if (command.split()[1] in ("plan", "explain")) == needs_torch:
            continue
        job = run(["sh", "-c", command], cwd=folder, env={"PATH": path})
        printed = [line.rstrip() for line in job.stdout.splitlines()]
        assert missing(pieces, printed) == [], f"{command}\nprinted\n{job.stdout}{job.stderr[-2000:]}"
        checked += 1
    return checked


def test_what_is_shown_of_plans_and_messages_is_printed(tmp_path):
    assert check(tmp_path, needs_torch=False) >= 5


@pytest.mark.slow
def test_what_is_shown_of_trainings_is_printed(tmp_path):
    assert check(tmp_path, needs_torch=True) >= 10


def test_a_line_that_is_not_printed_is_found():
    printed = ["a", "b", "c", "d"]
    assert missing([["a", "b"], ["d"]], printed) == []
    assert missing([["a", "c"]], printed) == ["a", "c"]
    assert missing([["c"], ["a"]], printed) == ["a"]
