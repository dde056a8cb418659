"""Takes `size` blocks of 64 MiB from the device, as a program without PyTorch does; --do says what else happens."""

import argparse
import ctypes
import os
import signal
import sys
import time

parser = argparse.ArgumentParser()
parser.add_argument("--size", type=int, required=True)
parser.add_argument("--width", type=int, default=1)
parser.add_argument("--at", type=int, default=1, help="from this size on it does what --do says")
parser.add_argument("--do", choices=["raise", "signal", "hang", "orphan", "nothing"], default="nothing")
parser.add_argument("--wasteful", type=int, default=0, help="this size takes twice as much")
arguments = parser.parse_args()

if arguments.size >= arguments.at:
    if arguments.do == "raise":
        raise ValueError(f"size {arguments.size} is not allowed")
    if arguments.do == "signal":
        os.kill(os.getpid(), signal.SIGSEGV)
    if arguments.do == "orphan" and os.fork() == 0:
        os.setsid()
        time.sleep(1000)
cuda = ctypes.CDLL("libcudart.so.13")
blocks = arguments.size * arguments.width * (2 if arguments.size == arguments.wasteful else 1)
for _ in range(blocks):
    if cuda.cudaMalloc(ctypes.byref(ctypes.c_void_p()), ctypes.c_size_t(64 << 20)) != 0:
        sys.exit("out of memory")
if arguments.do == "hang" and arguments.size >= arguments.at:
    time.sleep(1000)
