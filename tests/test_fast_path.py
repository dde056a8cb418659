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

# Functions of every event that is recorded, by the beginning of their names.
FAST = (
    "c10::reportMemoryUsageToProfiler",
    "oomtrace::AnyNamedCodeDied",
    "oomtrace::AttributeBlock",
    "oomtrace::Entry::",
    "oomtrace::Facts::HashOf",
    "oomtrace::ForwardStackOf",
    "oomtrace::LifeOf",
    "oomtrace::Python()",
    "oomtrace::RecordTensorAlloc",
    "oomtrace::RecordTensorFree",
    "oomtrace::Recorder::Current",
    "oomtrace::WalkFrames",
    "oomtrace::WalkPythonStack",
    "oomtrace::WriteCompactAlloc",
    "oomtrace::WriteCompactFree",
    "oomtrace::(anonymous namespace)::Reserved",
)
# What they call once for a process, a thread, a site, a run of events, or where something goes wrong.
RARE = (
    "oomtrace::ChunkWriter::BeginRun",
    "oomtrace::FindReal",
    "oomtrace::LookUp",
    "oomtrace::(anonymous namespace)::NewSite",
    "oomtrace::Recorder::Attach",
    "oomtrace::Recorder::CountDropped",
    "oomtrace::Recorder::CountFailedStack",
    "oomtrace::Recorder::Make",
    "oomtrace::Recorder::Start",
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
    fast = {name: code for name, code in functions().items() if name.startswith(FAST)}
    for needed in ("c10::reportMemoryUsageToProfiler", "oomtrace::AttributeBlock", "oomtrace::WriteCompactAlloc"):
        assert any(name.startswith(needed) for name in fast)
    for name, code in fast.items():
        cold = "[clone .cold]" in name
        for instruction in code:
            locked = instruction.startswith(("lock ", "syscall", "int ")) or re.match(r"xchg.*\(", instruction)
            assert cold or not locked, f"{name}: {instruction}"
            target = re.match(r"(?:call|jmp)\s+[0-9a-f]+ <(.*)>", instruction)
            if target is None or target[1].startswith(name + "+0x") or target[1] == name:
                continue
            assert target[1].startswith((*FAST, *RARE, *OTHERS)), f"{name}: {instruction}"
