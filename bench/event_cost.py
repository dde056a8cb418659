"""One measurement: nanoseconds of an allocation with its free, 20 Python frames deep. One JSON line on stdout.

python event_cost.py LIBRARY     LIBRARY: build/lib/libevent_loop.so
"""

import ctypes
import json
import sys

import torch

DEPTH = 20
ROUNDS, PAIRS = 40, 1 << 15  # several chunks of a trace in each round


def at_depth(depth, function):
    return at_depth(depth - 1, function) if depth > 1 else function()


def main():
    loop = ctypes.PyDLL(sys.argv[1])  # with the GIL, as PyTorch's allocator is mostly called
    loop.pair_ns.restype = loop.ticks_ns.restype = ctypes.c_double
    # Recording, and the part of it that runs in Python, begin with the first tensor.
    torch.zeros(1, device="cuda")
    pair = at_depth(DEPTH - 3, lambda: loop.pair_ns(ctypes.c_long(ROUNDS), ctypes.c_long(PAIRS)))
    print(json.dumps({"pair_ns": pair, "ticks_ns": loop.ticks_ns()}))


main()
