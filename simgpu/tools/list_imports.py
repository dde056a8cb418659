#!/usr/bin/env python3
"""Writes imports/<soname>.txt: every NVIDIA function that PyTorch wheels link to or may look up by name.

    list_imports.py --torch .venv/lib/python3.11/site-packages/torch --cuda-include build/cuda/nvidia/cu13/include
    list_imports.py --add .venv/lib/python3.11/site-packages/cupy_backends   # another package's

Three sources: the undefined symbols of the wheels' libraries, the driver and runtime functions that the CUDA headers
declare (extensions, Triton and c10 look these up by name), and the NVML names that stand as strings in a wheel's
libraries. What is found is added to the list of its soname. The lists are committed, so the build needs neither torch
nor this script.
"""

import argparse
import pathlib
import re
import subprocess
import sys

# Symbols without a version node name no library: the prefix tells, longest first; {12 or 13: soname} where that
# depends on the CUDA version of the wheel.
PREFIXES = [
    ("cusparseLt", "libcusparseLt.so.0"),
    ("curand", "libcurand.so.10"),
    ("cusolver", {12: "libcusolver.so.11", 13: "libcusolver.so.12"}),
    ("cuFile", "libcufile.so.0"),
    ("nvshmem", "libnvshmem_host.so.3"),
    ("nvtx", "libnvToolsExt.so.1"),
    ("pnccl", "libnccl.so.2"),
    ("nccl", "libnccl.so.2"),
    ("nvml", "libnvidia-ml.so.1"),
    ("cuda", {12: "libcudart.so.12", 13: "libcudart.so.13"}),
    ("cu", "libcuda.so.1"),
]
VERSION_NODES = {"NVSHMEM": "libnvshmem_host.so.3"}
NVIDIA_NAME = re.compile(r"^(__cuda|cu[A-Z_a-z]|nvml|nvrtc|nccl|pnccl|nvshmem|nvtx)")


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


def library_of(name, version, cuda_major):
    if version in VERSION_NODES:
        return VERSION_NODES[version]
    if version.startswith(("libcu", "libnv", "libnccl")):
        return version
    if version:
        return None
    soname = next((soname for prefix, soname in PREFIXES if name.startswith(prefix)), None)
    return soname.get(cuda_major) if isinstance(soname, dict) else soname


def cuda_major_of(torch):
    """12 or 13: which CUDA runtime the wheel needs."""
    needed = subprocess.run(
        ["readelf", "--wide", "--dynamic", torch / "lib/libc10_cuda.so"], capture_output=True, text=True, check=True
    ).stdout
    found = re.search(r"\[libcudart\.so\.(\d+)\]", needed)
    return int(found.group(1)) if found else sys.exit(f"{torch}/lib/libc10_cuda.so needs no libcudart.so.*")


def declared_functions(header, result_type):
    """Functions that a CUDA header declares, with the name each has in the library (after its #defines)."""
    text = pathlib.Path(header).read_text(errors="replace")
    renamed = dict(re.findall(r"#\s*define\s+(cu\w+)\s+(cu\w+_v\d+)\b", text))
    names = re.findall(rf"\b{result_type}\s+(?:CUDAAPI|CUDARTAPI)\s+(cu\w+)\s*\(", text)
    return {renamed.get(name, name) for name in names} | set(names)


def looked_up_names(library):
    strings = subprocess.run(["strings", "-a", library], capture_output=True, text=True, check=True).stdout
    return {s for s in strings.split() if re.fullmatch(r"nvml[A-Z]\w+", s)}


def linked_functions(libraries, cuda_major=13):
    """The NVIDIA functions that these libraries link to: a set of names for each soname."""
    lists = {}
    for library in libraries:
        for name, version in undefined_symbols(library):
            soname = library_of(name, version, cuda_major) if NVIDIA_NAME.match(name) else None
            if soname:
                lists.setdefault(soname, set()).add(name)
    return lists


def add_to_lists(folder, lists):
    for soname, names in sorted(lists.items()):
        known = folder / f"{soname}.txt"
        names = names | set(known.read_text().split() if known.exists() else [])
        known.write_text("".join(f"{name}\n" for name in sorted(names)))
        print(f"{soname}: {len(names)}")


def functions_of_torch(torch):
    libraries = sorted(torch.glob("lib/*.so*")) + sorted(torch.glob("_C*.so"))
    libraries = [library for library in libraries if library.is_file()]
    if not libraries:
        sys.exit(f"no libraries under {torch}/lib: --torch must name an installed torch package")
    lists = linked_functions(libraries, cuda_major_of(torch))
    for library in libraries:
        for name in looked_up_names(library):
            lists.setdefault("libnvidia-ml.so.1", set()).add(name)
    return lists


def functions_of_package(package, folder):
    sonames = {listed.stem for listed in folder.glob("*.txt")}
    lists = linked_functions(sorted(package.rglob("*.so")))
    return {soname: names for soname, names in lists.items() if soname in sonames}  # others have no simulation


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torch", type=pathlib.Path, help="an installed torch package")
    parser.add_argument("--cuda-include", type=pathlib.Path, help="folder that holds cuda.h")
    parser.add_argument("--add", type=pathlib.Path, help="another installed package")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent.parent / "imports")
    options = parser.parse_args()
    if not (options.torch or options.cuda_include or options.add):
        parser.error("give --torch, --cuda-include or --add")
    if options.torch:
        add_to_lists(options.out, functions_of_torch(options.torch))
    if options.add:
        add_to_lists(options.out, functions_of_package(options.add, options.out))
    if options.cuda_include:
        runtime = declared_functions(options.cuda_include / "cuda_runtime_api.h", "cudaError_t")
        driver = declared_functions(options.cuda_include / "cuda.h", "CUresult")
        add_to_lists(options.out, {"libcuda.so.1": driver, "libcudart.so.13": runtime})


if __name__ == "__main__":
    main()
