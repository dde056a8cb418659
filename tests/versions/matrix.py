"""What the recorder sees of one PyTorch version in each of its allocators, on the simulated GPU."""

import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
sys.path.insert(0, str(REPOSITORY / "tests" / "kill"))
import trace_file  # noqa: E402
from scratch import Scratch  # noqa: E402

ENVIRONMENTS = REPOSITORY / ".matrix"
# What `import torch` needs, without NVIDIA's libraries: the simulated GPU stands in for those. Triton and NumPy are not
# needed by the job.
NEEDED = ("sympy", "mpmath", "networkx", "Jinja2", "MarkupSafe", "fsspec", "filelock", "typing_extensions")
MODES = {
    "native": {},
    "expandable": {"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"},
    "cudaMallocAsync": {"PYTORCH_CUDA_ALLOC_CONF": "backend:cudaMallocAsync"},
    "no caching": {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"},
    "pluggable": {},
}


DEVICE_MEMORY = (0, 8)  # MemoryKind: DEVICE, POOLED


class Unreachable(Exception):
    """The packages could not be fetched."""


def interpreter_of(version):
    """The Python of this version ("3.12"): in PATH or of pyenv; None where there is none."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates = [*pyenv.glob(f"{version}.*/bin/python3"), shutil.which(f"python{version}")]
    # pyenv puts commands into PATH that only say that the version is not switched on.
    runs = (
        path for path in candidates if path and subprocess.run([path, "-c", ""], capture_output=True).returncode == 0
    )
    return next(runs, None)


def environment(version, python):
    """The interpreter of an environment with this PyTorch: the project's own, or one that is kept in .matrix."""
    tag = subprocess.run(
        [python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"], capture_output=True, text=True, check=True
    ).stdout.strip()
    own = REPOSITORY / ".venv"
    if any(own.glob(f"lib/python{tag}/site-packages/torch-{version}*.dist-info")):
        return own / "bin" / "python"
    folder = ENVIRONMENTS / f"torch-{version}-python-{tag}"
    interpreter = folder / "bin" / "python"
    ENVIRONMENTS.mkdir(exist_ok=True)
    with open(ENVIRONMENTS / f"{folder.name}.lock", "w") as lock:  # tests run beside one another
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            make_environment(version, python, tag, folder)
    return interpreter


def needed(tag):
    """As the project pins them; Python 3.9 is too old for those."""
    if tag == "3.9":
        return list(NEEDED)
    pinned = (REPOSITORY / "requirements" / "demo.txt").read_text().splitlines()
    return [line for line in pinned if line.split("==")[0] in NEEDED]


def make_environment(version, python, tag, folder):
    subprocess.run([python, "-m", "venv", "--clear", folder], check=True)
    for packages in ([f"torch=={version}"], needed(tag)):
        pip = [folder / "bin" / "python", "-m", "pip", "--disable-pip-version-check", "-q", "install", "--no-deps"]
        done = subprocess.run([*pip, *packages], capture_output=True, text=True)
        if done.returncode != 0:
            raise Unreachable(f"pip could not install {' '.join(packages)}: {done.stderr.strip()[-300:]}")
    (folder / "complete").touch()


@dataclass
class Result:
    torch: str
    python: str
    mode: str
    counted: int | None  # allocations as PyTorch counts them; None where that allocator counts none
    recorded: int
    shaped: float  # share of the tensors' bytes whose shape is known
    told: float  # share of the bytes whose shape or native callers are known
    stacked: float  # share of the bytes with a Python stack
    refused: str  # the exception that PyTorch raised
    refusals: int  # as recorded
    refused_shape: bool
    fidelity: str  # "n of n" device allocations replayed


def share(blocks, keep):
    total = sum(block["bytes"] for block in blocks)
    return sum(block["bytes"] for block in blocks if keep(block)) / total if total else 0.0


def analysed(oomtrace, path):
    done = subprocess.run([oomtrace, "analyze", "--format", "json", path], capture_output=True, text=True)
    found = re.search(r"[Rr]eplay fidelity: (\d+ of \d+)", done.stdout)
    return found.group(1) if found else "-"


def run(interpreter, version, mode, oomtrace, folder):
    """Runs the job in this mode and compares the trace with what PyTorch says of itself."""
    path = Path(folder) / f"{version}-{mode.replace(' ', '-')}.oomtrace"
    argument = "native"
    if mode == "pluggable":
        library = Path(folder) / "pluggable.so"
        subprocess.run(["cc", "-shared", "-fPIC", "-o", library, HERE / "pluggable.c"], check=True)
        argument = f"pluggable:{library}"
    command = [oomtrace, "dryrun", "--gpu", "rtx4070", "-o", path, "--", interpreter, HERE / "job.py", argument]
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("PYTORCH_", "OOMTRACE_"))}
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=variables | MODES[mode], timeout=500)
    lines = [line for line in done.stdout.splitlines() if line.startswith('{"allocations"')]
    if not lines:
        raise RuntimeError(f"torch {version}, {mode}: the job failed (exit {done.returncode})\n{done.stderr[-3000:]}")
    said = json.loads(lines[0])
    trace = trace_file.read(path)
    blocks = trace.of("tensor_alloc")
    if not blocks:  # PyTorch asks the device for each tensor
        calls = trace.of("device_alloc")
        given = [call for call in calls if not call.get("result") and call.get("bytes")]
        blocks = [call for call in given if call.get("kind", 0) in DEVICE_MEMORY]
    scratch = Scratch(trace)
    tensors = [block for block in blocks if not scratch.is_scratch(block)]
    refusals = trace.of("out_of_memory")
    return Result(
        version,
        python_of(trace),
        mode,
        said["allocations"] if mode in ("native", "expandable") else None,
        len(blocks),
        share(tensors, lambda block: block.get("layout")),
        share(blocks, lambda block: block.get("layout") or is_buffer(trace, block)),
        share(blocks, lambda block: block.get("stack")),
        said["refused"] or "-",
        len(refusals),
        any(refusal.get("layout") for refusal in refusals),
        analysed(oomtrace, path) if mode in ("native", "expandable") else "-",
    )


def is_buffer(trace, block):
    """No tensor: no factory was running, and it is known which native code asked."""
    context = trace.by_id["context"].get(block.get("context"), {})
    return not block.get("layout") and bool(context.get("native"))


def python_of(trace):
    return next((process["python_version"] for process in trace.facts["process"] if "python_version" in process), "?")
