"""A filter on the system calls of this process and its children: fallocate answers as on a file system without it."""

import ctypes
import errno
import os
import struct

NUMBER = {"x86_64": 285, "aarch64": 47}  # of fallocate, in the kernel's tables
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06  # BPF_LD|BPF_W|BPF_ABS, BPF_JMP|BPF_JEQ|BPF_K, BPF_RET|BPF_K
ALLOW, ERRNO = 0x7FFF0000, 0x00050000
NO_NEW_PRIVILEGES, SET_SECCOMP, FILTER = 38, 22, 2


class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]


def refuse_fallocate():
    instructions = b"".join(
        struct.pack("HBBI", *line)
        for line in (
            (LOAD, 0, 0, 0),  # the number of the call
            (EQUAL, 0, 1, NUMBER[os.uname().machine]),
            (RETURN, 0, 0, ERRNO | errno.EOPNOTSUPP),
            (RETURN, 0, 0, ALLOW),
        )
    )
    code = ctypes.create_string_buffer(instructions, len(instructions))
    program = Program(len(instructions) // 8, ctypes.cast(code, ctypes.c_void_p))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0) or libc.prctl(SET_SECCOMP, FILTER, ctypes.byref(program)):
        raise OSError(ctypes.get_errno(), "prctl")
