"""What a Python stack costs: the recorder's walk against the interpreter's own functions, in one run.

    python bench/python_stack_cost.py [build folder]

Twenty frames, the least of twenty rounds; the thread's state is looked up each time, as the recorder does.
"""

import ctypes
import sys
from pathlib import Path

DEPTH = 20
ROUND = 20000


def at_depth(depth, function):
    return at_depth(depth - 1, function) if depth > 1 else function()


def main():
    build = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).resolve().parent.parent / "build")
    probe = ctypes.PyDLL(str(build / "tests" / "liboomtrace_stack_probe.so"))  # with the GIL
    probe.probe_walk_ns.restype = probe.probe_api_walk_ns.restype = ctypes.c_double
    own = len(at_depth(1, lambda: frames()))
    measure = DEPTH - own + 1
    walk = at_depth(measure, lambda: probe.probe_walk_ns(ROUND))
    api = at_depth(measure, lambda: probe.probe_api_walk_ns(ROUND))
    print(f"Python {sys.version.split()[0]}, {DEPTH} frames: walk {walk:.1f} ns", end="")
    print(f", interpreter's functions {api:.1f} ns, {api / walk:.1f} times as much" if api > 0 else "", end="")
    let_a_named_code_object_die(probe)
    print(f"; once code objects have died {at_depth(measure, lambda: probe.probe_walk_ns(ROUND)):.1f} ns")


def let_a_named_code_object_die(probe):
    probe.probe_watch()
    exec("probe.probe_stack(buffer, 4096)", {"probe": probe, "buffer": ctypes.create_string_buffer(4096)})


def frames():
    frame, found = sys._getframe(1), []
    while frame is not None:
        found.append(frame)
        frame = frame.f_back
    return found


main()
