"""Runs a small program on the simulated GPU under the recorder, and reads what its trace says."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from harness import BUILD

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "kill"))
from trace_file import Trace, read  # noqa: E402

RECORDER = BUILD / "lib" / "liboomtrace.so"
SIMGPU = BUILD / "lib" / "simgpu"
PROGRAMS = BUILD / "bin" / "routes"
# enum MemoryKind of proto/trace.proto
KINDS = [
    "device",
    "managed",
    "host",
    "registered",
    "array",
    "physical",
    "retained",
    "mapping",
    "pooled",
    "pool",
    "graph",
    "imported",
    "imported_physical",
    "host_physical",
    "multicast",
    "context",
    "code",
]
HANDLES = {"array", "physical", "pool", "imported_physical", "host_physical", "multicast"}


@dataclass
class Ran:
    status: int
    out: str
    err: str
    path: Path
    trace: Trace | None

    def expected(self):
        """kind -> bytes, as the program counted them itself."""
        words = [line.split() for line in self.out.splitlines()]
        return {word[0]: int(word[1]) for word in words if len(word) == 2 and word[0] in KINDS and word[1].isdigit()}

    def held(self, kind):
        """Bytes of one kind that the events leave allocated."""
        live = {}
        for _, name, event in self.trace.events:
            if name not in ("device_alloc", "device_free"):
                continue
            what = KINDS[event.get("kind", 0)]
            if name == "device_alloc" and event.get("result", 0) == 0:
                space = "handle" if what in HANDLES else what if what in ("mapping", "context", "code") else "address"
                if what != "retained":
                    live[space, event["address"]] = (what, event.get("bytes", 0))
            elif what == "context" and event["address"] == 0:
                live = {key: value for key, value in live.items() if key[0] in ("handle", "mapping")}
            elif name == "device_free":
                space = {"physical": "handle", "device": "address"}.get(what, what)
                live.pop((space, event["address"]), None)
        return sum(size for what, size in live.values() if what == kind)

    def apis(self, kind="device_alloc"):
        return [self.trace.string(event["api"]) for event in self.trace.of(kind)]

    def libraries(self):
        """Names of the libraries that asked."""
        paths = [self.trace.by_id["library"][event["library"]]["path"] for event in self.trace.of("device_alloc")]
        return {Path(path).name for path in paths}


@pytest.fixture
def recorded(tmp_path):
    """recorded(program, *arguments): the finished program. `preload`: libraries after the recorder."""
    count = 0

    def start(program, *arguments, preload=(), recorder=True, simulated=True, **environment):
        nonlocal count
        count += 1
        path = tmp_path / f"{count}.oomtrace"
        libraries = [RECORDER] if recorder else []
        libraries += [*preload]
        if simulated:
            libraries += [SIMGPU / name for name in (SIMGPU / "preload.txt").read_text().split()]
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("OOMTRACE", "LD_PRELOAD", "PYTORCH_"))}
        clean["LD_PRELOAD"] = ":".join(map(str, libraries))
        clean["LD_LIBRARY_PATH"] = str(SIMGPU)
        clean["OOMTRACE_SIM_GPU"] = "rtx4070"
        clean["OOMTRACE_FILE"] = str(path)
        program = PROGRAMS / program if (PROGRAMS / program).exists() else program
        command = [str(program), *map(str, arguments)]
        ran = subprocess.run(command, env=clean | environment, capture_output=True, text=True, timeout=120)
        return Ran(ran.returncode, ran.stdout, ran.stderr, path, read(path) if path.exists() else None)

    return start
