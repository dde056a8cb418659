"""PyTorch with other allocators than its own, and with what its own keeps apart: private pools and several streams."""

import subprocess
import sys

import pytest
from harness import GIB, MIB, OOMTRACE, REPOSITORY, SCRIPTS, WarmInterpreter, assert_adds_up, lines_with, run

FOLDER = SCRIPTS / "allocators"


@pytest.fixture(scope="module")
def warm(tmp_path_factory):
    interpreter = WarmInterpreter(tmp_path_factory.mktemp("warm"))
    yield interpreter
    interpreter.close()


@pytest.fixture(scope="module")
def pluggable(tmp_path_factory):
    library = tmp_path_factory.mktemp("pluggable") / "pluggable.so"
    source = REPOSITORY / "tests" / "versions" / "pluggable.c"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
    return str(library)


def text_of(job):
    return run([OOMTRACE, "analyze", job.trace]).stdout


def fidelity(report):
    said = next(sentence for sentence in report["evidence"] if sentence.startswith("Replay fidelity"))
    words = said.split()
    return int(words[2]), int(words[4])


def test_tensors_of_a_pluggable_allocator_are_tensors(warm, analyze, pluggable):
    script = FOLDER / "pluggable_leak.py"
    job = warm.run(script, pluggable, capacity=GIB)
    verdict = analyze(job)
    assert_adds_up(verdict.report)
    assert verdict.allocator == "pluggable"
    assert verdict.pattern == "gradual_leak", verdict.evidence
    assert verdict.culprit["line"] in lines_with(script, "history.append")
    assert verdict.culprit["shape"] == [1 << 20] and verdict.culprit["dtype"] == "float32"
    assert verdict.culprit["holder"].startswith("history"), verdict.culprit
    assert verdict.leak["bytes_per_step"] == pytest.approx(4 * MIB, rel=0.02)
    assert [cause["id"] for cause in verdict.causes] == ["accumulating_tensors"]
    assert verdict.device["tensors"] > 0.7 * verdict.device["total"]
    assert verdict.device["cache"] == verdict.device["other"] == 0
    assert verdict.categories["parameter"] > 0 and verdict.categories["optimizer_state"] > 0
    text = text_of(job)
    assert "cache" not in text and "expandable" not in text and "Replay fidelity" not in text, text
    assert verdict.fixes and verdict.fixes[0]["fits"]


def test_a_pool_with_an_allocator_of_its_own_is_still_the_caching_allocators(warm, analyze, pluggable, tmp_path):
    script = tmp_path / "own_pool.py"
    script.write_text(
        "import sys, torch\n"
        "allocator = torch.cuda.memory.CUDAPluggableAllocator(sys.argv[1], 'give', 'take')\n"
        "pool = torch.cuda.MemPool(allocator.allocator())\n"
        "with torch.cuda.use_mem_pool(pool):\n"
        "    kept = [torch.empty(8 << 20, device='cuda') for _ in range(4)]\n"
        "torch.empty(1 << 30, device='cuda')\n"
    )
    verdict = analyze(warm.run(script, pluggable, capacity=GIB))
    assert_adds_up(verdict.report)
    assert verdict.allocator == "native"
    assert verdict.device["tensors"] == 128 * MIB and verdict.device["other"] == 0


@pytest.mark.parametrize("owner", ["mempool", "graph"])
def test_what_lies_idle_in_a_private_pool_is_told_from_the_cache(warm, analyze, owner):
    script = FOLDER / "private_pool.py"
    job = warm.run(script, owner, capacity=GIB)
    verdict = analyze(job)
    assert_adds_up(verdict.report)
    assert verdict.device["private_pools"] == 320 * MIB, verdict.device
    assert verdict.causes[0]["id"] == "private_pools", verdict.causes
    fixes = {fix["id"]: fix for fix in verdict.fixes}
    assert fixes["release_private_pools"]["fits"]
    # It would die in the same way: the pool keeps what it has.
    assert "expandable_segments" not in fixes and "micro_batch" not in fixes, fixes
    matched, of = fidelity(verdict.report)
    assert matched == of > 0
    assert "of it in private pools" in text_of(job)
    assert warm.run(script, owner, "release", capacity=GIB).status == 0


@pytest.mark.parametrize("kept", ["kept", "bare"])
def test_a_graph_for_each_size_keeps_a_pool_each(warm, analyze, kept):
    script = FOLDER / "graph_per_size.py"
    job = warm.run(script, kept, "1000", capacity=GIB)
    verdict = analyze(job)
    assert_adds_up(verdict.report)
    assert verdict.pattern == "gradual_leak", verdict.evidence
    assert verdict.causes[0]["id"] == "private_pools", verdict.causes
    assert verdict.culprit["line"] in range(*(lines_with(script, name)[0] for name in ("with torch", "total.copy_")))
    if kept == "kept":
        assert verdict.culprit["holder"].startswith("Engine.by_length"), verdict.culprit
    fixes = {fix["id"]: fix for fix in verdict.fixes}
    # What holds the memory is the graphs: neither a shorter list of tensors nor a copy on the host gives it back.
    assert list(fixes) == ["share_private_pool", "fewer_graphs"], fixes
    assert all(fix["fits"] for fix in fixes.values())
    steps = str(verdict.steps_completed + 1)
    for name in ("share", "few"):
        changed = warm.run(script, kept, steps, name, capacity=GIB)
        assert changed.status == 0
        reserved = analyze(changed).peak["reserved"]
        if name == "share":
            assert fixes["share_private_pool"]["predicted_peak"] == pytest.approx(reserved, rel=0.1)


def test_expandable_segments_are_not_called_too_little_where_the_trace_cannot_tell(tmp_path, analyze):
    """No whole iteration with the optimizer's state is on record: the setting serves what it died of."""
    script = FOLDER / "second_iteration.py"
    command = [OOMTRACE, "dryrun", "--gpu", "490MiB", "-o", tmp_path / "job.oomtrace", "--", sys.executable, script]
    assert run(command, cwd=tmp_path).status == 1
    verdict = analyze(tmp_path / "job.oomtrace")
    fix = next(fix for fix in verdict.fixes if fix["id"] == "expandable_segments")
    assert fix["basis"] == "replayed" and fix["condition"].startswith("what it died of is served")
    changed = [*command[:4], "--no-record", *command[6:]]
    assert run(changed, cwd=tmp_path, env={"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"}).status == 0


def test_each_stream_has_its_own_free_blocks(warm, analyze):
    verdict = analyze(warm.run(FOLDER / "streams.py", capacity=GIB))
    matched, of = fidelity(verdict.report)
    assert matched == of >= 4, verdict.evidence


def test_a_matrix_is_no_batch(warm, analyze, tmp_path):
    script = tmp_path / "matrix.py"
    script.write_text(
        "import torch\na = torch.rand(4096, 4096, device='cuda')\nkept = [a.cumsum(0) for _ in range(100)]\n"
    )
    verdict = analyze(warm.run(script, capacity=GIB))
    assert verdict.report["out_of_memory"]["happened"]
    assert not [fix for fix in verdict.fixes if "micro_batch" in fix["id"]], verdict.fixes


def test_the_first_device_call_of_a_thread_has_its_line(tmp_path, analyze):
    """Without PyTorch, while the main thread waits: nothing of ours has run in the interpreter."""
    script = tmp_path / "thread.py"
    script.write_text(
        "import ctypes, sys, threading\n"
        "runtime = ctypes.CDLL('libcudart.so.13')\n\n\n"
        "def work():\n"
        "    pointer = ctypes.c_void_p()\n"
        "    runtime.cudaMalloc(ctypes.byref(pointer), ctypes.c_size_t(40 << 30))\n\n\n"
        "thread = threading.Thread(target=work)\nthread.start()\nthread.join()\nsys.exit(1)\n"
    )
    trace = tmp_path / "job.oomtrace"
    run([OOMTRACE, "dryrun", "--gpu", "rtx4070", "-o", trace, "--", sys.executable, script], cwd=tmp_path)
    verdict = analyze(trace)
    assert verdict.culprit["file"] == str(script)
    assert verdict.culprit["line"] in lines_with(script, "cudaMalloc")
    assert verdict.culprit["function"] == "work"
