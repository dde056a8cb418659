#!/usr/bin/env python3
"""Writes imports/<soname>.txt: every NVIDIA function that a PyTorch wheel links to or may look up by name.

    list_imports.py --torch .venv/lib/python3.11/site-packages/torch --cuda-include build/cuda/nvidia/cu13/include
    list_imports.py --add .venv/lib/python3.11/site-packages/cupy_backends   # another package's, added to the lists

Three sources: the undefined symbols of the wheel's libraries, the driver and runtime functions that the CUDA headers
declare (extensions, Triton and c10 look these up by name), and the NVML and driver names that stand as strings in
libc10_cuda and libtorch_cuda. The lists are committed, so the build needs neither torch nor this script.
"""

import argparse
import pathlib
import re
import subprocess
import sys

# Symbols without a version node name no library: the prefix tells, longest first.
PREFIXES = [
    ("cusparseLt", "libcusparseLt.so.0"),
    ("curand", "libcurand.so.10"),
    ("cusolver", "libcusolver.so.12"),
    ("cuFile", "libcufile.so.0"),
    ("nvshmem", "libnvshmem_host.so.3"),
    ("pnccl", "libnccl.so.2"),
    ("nccl", "libnccl.so.2"),
    ("nvml", "libnvidia-ml.so.1"),
    ("cuda", "libcudart.so.13"),
    ("cu", "libcuda.so.1"),
]
VERSION_NODES = {"NVSHMEM": "libnvshmem_host.so.3"}
NVIDIA_NAME = re.compile(r"^(__cuda|cu[A-Z_a-z]|nvml|nvrtc|nccl|pnccl|nvshmem)")


def undefined_symbols(library):
    """Yields (name, version node or "") of each undefined dynamic symbol."""
    listing = subprocess.run(
        ["readelf", "--wide", "--dyn-syms", library], capture_output=True, text=True, check=True
    ).stdout
    for line in listing.splitlines():
        fields = line.split()
        if len(fields) >= 8 and fields[6] == "UND":
            name, _, version = fields[7].partition("@")
            yield name, version.lstrip("@")


def library_of(name, version):
    if version in VERSION_NODES:
        return VERSION_NODES[version]
    if version.startswith(("libcu", "libnv", "libnccl")):
        return version
    if version:
        return None
    return next((soname for prefix, soname in PREFIXES if name.startswith(prefix)), None)


def declared_functions(header, result_type):
    """Functions that a CUDA header declares, with the name each has in the library (after its #defines)."""
    text = pathlib.Path(header).read_text(errors="replace")
    renamed = dict(re.findall(r"#\s*define\s+(cu\w+)\s+(cu\w+_v\d+)\b", text))
    names = re.findall(rf"\b{result_type}\s+(?:CUDAAPI|CUDARTAPI)\s+(cu\w+)\s*\(", text)
    return {renamed.get(name, name) for name in names} | set(names)


def looked_up_names(library):
    strings = subprocess.run(["strings", "-a", library], capture_output=True, text=True, check=True).stdout
    return {s for s in strings.split() if re.fullmatch(r"nvml[A-Z]\w+", s)}


def linked_functions(libraries):
    """The NVIDIA functions that these libraries link to: a set of names for each soname."""
    lists = {}
    for library in libraries:
        for name, version in undefined_symbols(library):
            soname = library_of(name, version) if NVIDIA_NAME.match(name) else None
            if soname:
                lists.setdefault(soname, set()).add(name)
    return lists


def write(folder, soname, names):
    (folder / f"{soname}.txt").write_text("".join(f"{name}\n" for name in sorted(names)))
    print(f"{soname}: {len(names)}")


def add(package, folder):
    sonames = {soname for _, soname in PREFIXES} | {listed.stem for listed in folder.glob("*.txt")}
    for soname, names in sorted(linked_functions(sorted(package.rglob("*.so"))).items()):
        if soname not in sonames:
            continue  # a library that has no simulation
        known = folder / f"{soname}.txt"
        write(folder, soname, names | set(known.read_text().split() if known.exists() else []))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torch", type=pathlib.Path, help="the installed torch package")
    parser.add_argument("--cuda-include", type=pathlib.Path, help="folder that holds cuda.h")
    parser.add_argument("--add", type=pathlib.Path, help="an installed package whose imports are added to the lists")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent.parent / "imports")
    options = parser.parse_args()
    if options.add:
        return add(options.add, options.out)
    if not options.torch or not options.cuda_include:
        parser.error("give --torch and --cuda-include, or --add")
    libraries = sorted(options.torch.glob("lib/*.so*")) + sorted(options.torch.glob("_C*.so"))
    libraries = [library for library in libraries if library.is_file()]
    if not libraries:
        sys.exit(f"no libraries under {options.torch}/lib: --torch must name an installed torch package")

    lists = linked_functions(libraries)
    for library in libraries:
        for name in looked_up_names(library):
            lists.setdefault("libnvidia-ml.so.1", set()).add(name)
    lists.setdefault("libcuda.so.1", set()).update(declared_functions(options.cuda_include / "cuda.h", "CUresult"))
    lists.setdefault("libcudart.so.13", set()).update(
        declared_functions(options.cuda_include / "cuda_runtime_api.h", "cudaError_t")
    )
    options.out.mkdir(exist_ok=True)
    for soname, names in sorted(lists.items()):
        write(options.out, soname, names)


if __name__ == "__main__":
    main()
