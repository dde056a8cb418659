"""Reads a trace file with nothing but the format's documents: an independent check of what the recorder writes.

Every committed chunk is decoded whole; a record that does not parse, a checksum that does not hold or an id that was
not defined before is an error.
"""

import re
import struct
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

HEADER, CHUNK, CHUNK_HEADER = 4096, 65536, 64
PERMANENT, EVENTS, FOLD = 1, 2, 3
PROTO = Path(__file__).resolve().parents[2] / "proto" / "trace.proto"


def load_schema():
    """message -> field number -> (name, type, repeated), from the text of trace.proto."""
    schema, stack, enums = {}, [], set()
    for line in PROTO.read_text().splitlines():
        line = line.split("//")[0].strip()
        if match := re.match(r"(message|enum) (\w+) {", line):
            stack.append(match.group(2) if match.group(1) == "message" else None)
            if match.group(1) == "message":
                schema[match.group(2)] = {}
            else:
                enums.add(match.group(2))
        elif line == "}":
            stack.pop()
        elif stack and stack[-1] and (match := re.match(r"(repeated )?(\w+) (\w+) = (\d+);", line)):
            repeated, kind, name, number = match.groups()
            schema[stack[-1]][int(number)] = (name, "uint32" if kind in enums else kind, bool(repeated))
    return schema


SCHEMA = load_schema()
MASK = (1 << 64) - 1
SCALARS = {"uint32", "uint64", "int32", "int64", "sint64", "bool"}


def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def scalar(kind, value):
    if kind == "sint64":
        return (value >> 1) ^ -(value & 1)
    if kind in ("int32", "int64"):
        return value - (1 << 64) if value >= 1 << 63 else value
    return bool(value) if kind == "bool" else value


def decode(message, data):
    """A dictionary of the fields that are present; repeated fields are lists."""
    result, at = defaultdict(list), 0
    while at < len(data):
        tag, at = varint(data, at)
        name, kind, repeated = SCHEMA[message][tag >> 3]
        if tag & 7 == 0:
            value, at = varint(data, at)
            values = [scalar(kind, value)]
        else:
            assert tag & 7 == 2, f"wire type {tag & 7} of {message}.{name}"
            size, at = varint(data, at)
            body, at = data[at : at + size], at + size
            assert len(body) == size, f"{message}.{name} is cut off"
            if kind in SCALARS:
                values, inner = [], 0
                while inner < size:
                    value, inner = varint(body, inner)
                    values.append(scalar(kind, value))
            elif kind in ("string", "bytes"):
                values = [body.decode("utf-8", "replace")]
            else:
                values = [decode(kind, body)]
        if repeated:
            result[name] += values
        else:
            result[name] = values[-1]
    return dict(result)


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = CRC_TABLE[(crc ^ byte) & 255] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def crc_table():
    for byte in range(256):
        for _ in range(8):
            byte = (byte >> 1) ^ (0x82F63B78 if byte & 1 else 0)
        yield byte


CRC_TABLE = list(crc_table())


@dataclass
class Trace:
    path: Path
    state: int = 0
    pid: int = 0
    reserved_chunks: int = 0
    budget_chunks: int = 0
    dropped: int = 0
    recycled: int = 0
    folded: int = 0
    fold_generation: int = 0
    fold_horizon: int = 0
    failed_stacks: int = 0
    unknown_calls: int = 0
    exit_now: int | None = None  # the status given to _exit()
    reason: str = ""
    chunks: int = 0
    sequences: list = field(default_factory=list)
    facts: dict = field(default_factory=lambda: defaultdict(list))  # packet kind -> packets
    events: list = field(default_factory=list)  # (ticks, kind, packet), in order of ticks
    compact_bytes: int = 0  # in runs of compact events
    event_chunks: list = field(default_factory=list)  # (base ticks, packets, which ticks count)

    def of(self, kind):
        return [packet for _, name, packet in self.events if name == kind]

    def string(self, number):
        return self.strings.get(number, "")

    def stack(self, number):
        """[(file, function, line)], innermost first."""
        frames = self.by_id["frame"]
        return [
            (self.string(frame.get("file")), self.string(frame.get("function")), frame.get("line", 0))
            for frame in (frames[i] for i in self.by_id["stack"][number].get("frame", []))
        ]

    def index(self):
        self.by_id = {
            kind: {packet["id"]: packet for packet in self.facts[kind]}
            for kind in ("string", "frame", "stack", "layout", "context", "library", "site", "native_callers")
        }
        self.strings = {number: packet.get("value", "") for number, packet in self.by_id["string"].items()}

    def check_references(self):
        for _, kind, packet in self.events:
            for name, table in (
                ("stack", "stack"),
                ("layout", "layout"),
                ("context", "context"),
                ("library", "library"),
            ):
                if packet.get(name) and isinstance(packet[name], int):
                    assert packet[name] in self.by_id[table], f"{kind} refers to {name} {packet[name]}, not defined"

    def live(self):
        """address -> bytes of what is allocated at the end; a free of what is not there is an error."""
        blocks = {}
        for _, kind, packet in self.events:
            if kind == "tensor_alloc":
                blocks[packet["address"]] = packet["bytes"]
            elif kind == "tensor_free":
                known = blocks.pop(packet["address"], None)
                assert known is not None or self.recycled or self.folded, "a free without an allocation"
        return blocks


def rotate_left(value, bits):
    return (value << bits | value >> (64 - bits)) & MASK


class CompactRuns:
    """The compact events of one chunk: proto/trace.proto, Chunk.compact."""

    def __init__(self, sites):
        self.sites = sites
        self.slots = {}  # slot -> (rotated address, device)
        self.last_new = 0
        self.reserved = {}

    def new_block(self, data, at):
        difference, at = varint(data, at)
        self.last_new = (self.last_new + scalar("sint64", difference)) & MASK
        return self.last_new, at

    def known_block(self, data, at):
        slot, at = varint(data, at)
        return *self.slots[slot], at

    def events(self, data):
        """(ticks since the event before, kind, packet)"""
        at = 0
        while at < len(data):
            head, at = varint(data, at)
            ticks, kind = head >> 3 << 4, head & 7
            if kind == 4:
                device, at = varint(data, at)
                self.reserved[device], at = varint(data, at)
                yield ticks, "reserved", {}
                continue
            packet, name = {}, "tensor_free" if kind in (2, 3) else "tensor_alloc"
            if kind in (0, 1):
                number, at = varint(data, at)
                packet = {key: value for key, value in self.sites[number].items() if key != "id"}
            if kind == 0:
                rotated, _, at = self.known_block(data, at)
            elif kind == 1:
                rotated, at = self.new_block(data, at)
            elif kind == 2:
                rotated, packet["device"], at = self.known_block(data, at)
            elif kind == 3:
                packet["device"], at = varint(data, at)
                rotated, at = self.new_block(data, at)
            else:
                assert kind == 5, f"kind {kind} of a compact event"
                rotated, at = self.new_block(data, at)
                for key in ("bytes", "stack", "layout", "context", "device"):
                    packet[key], at = varint(data, at)
            device = packet.get("device", 0)
            self.slots[(rotated * 0x9E3779B97F4A7C15 & MASK) >> 51] = (rotated, device)
            packet["address"] = rotate_left(rotated, 9)
            packet["reserved"] = self.reserved[device]
            yield ticks, name, packet


def read_events(trace, base, payload):
    ticks, block = base, 0
    runs = CompactRuns(trace.by_id["site"])
    for kind, packet in payload:
        if kind == "compact":
            for elapsed, name, event in runs.events(packet):
                ticks += elapsed
                if name != "reserved":
                    yield ticks, name, event
            continue
        ticks += packet.get("ticks", 0)
        if any(name == "block" for name, _, _ in SCHEMA["".join(part.title() for part in kind.split("_"))].values()):
            block = (block + packet.get("block", 0)) & MASK
            packet["address"] = rotate_left(block, 9)
        yield ticks, kind, packet


def read(path):
    data = Path(path).read_bytes()
    trace = Trace(Path(path))
    magic, version, header, chunk, chunk_header = struct.unpack_from("<8sIIII", data)
    assert (magic, version, header, chunk, chunk_header) == (b"OOMTRACE", 1, HEADER, CHUNK, CHUNK_HEADER)
    trace.budget_chunks, trace.reserved_chunks, trace.state, trace.pid = struct.unpack_from("<QQII", data, 24)
    trace.dropped, trace.recycled, trace.folded, trace.unknown_calls, trace.failed_stacks = struct.unpack_from(
        "<5Q", data, 72
    )
    (trace.fold_generation,) = struct.unpack_from("<I", data, 112)
    if trace.fold_generation:
        (trace.fold_horizon,) = struct.unpack_from("<Q", data, 120 + trace.fold_generation % 2 * 8)
    trace.exit_now = struct.unpack_from("<i", data, 144)[0] if struct.unpack_from("<Q", data, 136)[0] else None
    trace.reason = data[256:512].split(b"\0")[0].decode()
    for offset in range(HEADER, HEADER + trace.reserved_chunks * CHUNK, CHUNK):
        read_chunk(trace, data, offset)
    assert len(set(trace.sequences)) == len(trace.sequences), "a sequence number is used twice"
    trace.index()
    for base, packets, counted in trace.event_chunks:
        trace.events += [event for event in read_events(trace, base, packets) if counted(event[0])]
    trace.events.sort(key=lambda event: event[0])
    trace.check_references()
    return trace


def counts(trace, kind, generation):
    """Whether an event of a chunk counts, by its ticks."""
    if kind == EVENTS:
        return lambda ticks: ticks > trace.fold_horizon
    return lambda ticks: generation != 0 or ticks <= trace.fold_horizon


def read_chunk(trace, data, offset):
    fields = struct.unpack_from("<4sHHQQQIIII", data, offset)
    magic, kind, flags, sequence, base, _, _, committed, crc, generation = fields
    if magic != b"OTCH" or generation not in (0, trace.fold_generation):
        return
    trace.chunks += 1
    trace.sequences.append(sequence)
    payload = data[offset + CHUNK_HEADER : offset + CHUNK_HEADER + committed]
    if flags & 1:
        assert crc32c(payload) == crc, f"the checksum of chunk {sequence} does not hold"
    packets, at = [], 0
    while at < len(payload):
        tag, at = varint(payload, at)
        name, message, _ = SCHEMA["Chunk"][tag >> 3]
        assert tag & 7 == 2
        size, at = varint(payload, at)
        if name == "compact":  # while the run is open its length reaches to the end of the chunk
            assert at % 4 == 0 and at + size <= CHUNK - CHUNK_HEADER
            packets.append((name, payload[at : at + size]))
        else:
            assert at + size <= len(payload), f"{name} goes beyond the committed bytes of chunk {sequence}"
            packets.append((name, decode(message, payload[at : at + size])))
        at += size
    if kind == PERMANENT:
        for name, packet in packets:
            trace.facts[name].append(packet)
    else:
        trace.compact_bytes += sum(len(packet) for name, packet in packets if name == "compact")
        trace.event_chunks.append((base, packets, counts(trace, kind, generation)))
