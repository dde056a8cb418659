"""Which blocks of a trace are no tensors, told by the functions of PyTorch that asked for them (nm, readelf)."""

import bisect
import functools
import subprocess

# Parts of mangled names: what asks the allocator for scratch space instead of a tensor, in PyTorch 2.4 to 2.15.
SCRATCH = (
    "gpu_reduce",
    "sort_kernel",
    "sort_pairs",
    "BlasWorkspace",
    "BlasHandle",
    "BlasLtWorkspace",
    "gemm_and_bias",
    "multi_tensor",
)
CALLERS = 3  # that many outside the allocator: the one that asks is the first, at times the second


class Symbols:
    def __init__(self, library):
        self.segments, self.functions = [], []
        for line in run("readelf", "-lW", library):
            if line.lstrip().startswith("LOAD"):
                self.segments.append([int(word, 16) for word in line.split()[1:5]])
        for line in run("nm", "--defined-only", library):
            words = line.split()
            if len(words) == 3 and words[1] in "tTwW":
                self.functions.append((int(words[0], 16), words[2]))
        self.functions.sort()

    def at(self, offset):
        for begin, address, _, size in self.segments:
            if begin <= offset < begin + size:
                found = bisect.bisect_left(self.functions, (offset - begin + address,)) - 1
                return self.functions[found][1] if found >= 0 else ""
        return ""


def run(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


@functools.cache
def symbols_of(library):
    return Symbols(library)


class Scratch:
    """Answers for blocks of one trace."""

    def __init__(self, trace):
        self.trace, self.known = trace, {}

    def is_scratch(self, block):
        native = self.trace.by_id["context"].get(block.get("context"), {}).get("native")
        if block.get("layout") or not native:
            return False
        if native not in self.known:
            self.known[native] = any(part in name for name in self.callers(native) for part in SCRATCH)
        return self.known[native]

    def callers(self, native):
        record = self.trace.by_id["native_callers"][native]
        places = zip(record["library"], record["offset"], strict=True)
        paths = [(self.trace.by_id["library"][library]["path"], offset) for library, offset in places]
        outside = [place for place in paths if "/libc10" not in place[0]][:CALLERS]
        return [symbols_of(path).at(offset) for path, offset in outside]
