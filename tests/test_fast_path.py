"""What runs for every block of the caching allocator, as it was compiled: no locked instruction, no system call, no
malloc, nothing of another library but what is listed. Read from the disassembly, so that no compiler and no innocent
change brings them back unseen."""

import os
import platform
import re
import subprocess
from pathlib import Path

import pytest

BUILD = Path(os.environ.get("OOMTRACE_BUILD", Path(__file__).resolve().parents[1] / "build")).resolve()

# Where every event of a block that is recorded begins, by the beginning of their names. What these call of ours is held
# to the same, whether the compiler makes it a function of its own or not.
FAST = (
    "c10::reportMemoryUsageToProfiler",
    "oomtrace::AttributeBlock",
    "oomtrace::WalkPythonStack",
    "oomtrace::WriteCompactAlloc",
    "oomtrace::WriteCompactFree",
)
# What they call once for a process, a thread, a site, a run of events, or where something goes wrong.
RARE = (
    "oomtrace::ChunkWriter::BeginRun",
    "oomtrace::Entry::EnterOtherwise",
    "oomtrace::FindReal",
    "oomtrace::LookUp",
    "oomtrace::(anonymous namespace)::NewSite",
    "oomtrace::Recorder::CountDropped",
    "oomtrace::Recorder::CountFailedStack",
)
# Of the C library: where a thread's errno is.
OTHERS = ("__errno_location@plt",)


def functions():
    """name -> its instructions"""
    listing = subprocess.run(
        ["objdump", "-d", "-C", "--no-show-raw-insn", BUILD / "lib" / "liboomtrace.so"],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
    found, name = {}, None
    for line in listing.splitlines():
        if start := re.fullmatch(r"[0-9a-f]+ <(.*)>:", line):
            name = start[1]
            found.setdefault(name, [])
        elif "\t" in line:
            found[name].append(line.split("\t", 1)[1].strip())
    return found


@pytest.mark.skipif(platform.machine() != "x86_64", reason="reads x86-64 instructions")
def test_nothing_slow_for_every_block():
    code = functions()
    for needed in ("c10::reportMemoryUsageToProfiler", "oomtrace::AttributeBlock", "oomtrace::WriteCompactAlloc"):
        assert any(name.startswith(needed) for name in code)
    reached = [name for name in code if name.startswith(FAST)]
    for name in reached:  # which grows by what is called
        cold = "[clone .cold]" in name
        for instruction in code[name]:
            locked = instruction.startswith(("lock ", "syscall", "int ")) or re.match(r"xchg.*\(", instruction)
            assert cold or not locked, f"{name}: {instruction}"
            target = re.match(r"(?:call|jmp)\s+[0-9a-f]+ <(.*)>", instruction)
            called = target and re.sub(r"(\+0x[0-9a-f]+|@plt)$", "", target[1])
            if called is None or called.startswith(RARE) or target[1] in OTHERS:
                continue
            assert called.startswith(("oomtrace::", "(anonymous namespace)::", *FAST)) and called in code, (
                f"{name}: {instruction}"
            )
            if called not in reached:
                reached.append(called)
