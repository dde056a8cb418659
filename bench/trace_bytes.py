"""Bytes that the chunks of a trace hold, by kind (docs/trace-format.md)."""

import struct
from pathlib import Path

HEADER, CHUNK, MAGIC = 4096, 65536, 0x4843544F
KINDS = {1: "permanent", 2: "events", 3: "fold"}


def committed_bytes(path):
    data = Path(path).read_bytes()
    totals = dict.fromkeys(KINDS.values(), 0)
    (generation,) = struct.unpack_from("<I", data, 112)
    for at in range(HEADER, len(data) - CHUNK + 1, CHUNK):
        magic, kind = struct.unpack_from("<IH", data, at)
        committed, _, own_generation, folded_in = struct.unpack_from("<4I", data, at + 36)
        counts = own_generation in (0, generation) and not 0 < folded_in <= generation
        if magic == MAGIC and kind in KINDS and counts:
            totals[KINDS[kind]] += committed
    return totals
