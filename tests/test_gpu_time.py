"""The GPU timeline, the collector beside PyTorch's profiler, and NVTX, on the simulated GPU."""

import json
import sys
import textwrap

import pytest
from harness import BUILD, MIB, OOMTRACE, REPOSITORY, run

TRAINING = """
import torch

model = torch.nn.Sequential(torch.nn.Linear(512, 512), torch.nn.GELU(), torch.nn.Linear(512, 512)).cuda()
optimizer = torch.optim.AdamW(model.parameters())
for step in range(4):
    torch.cuda.nvtx.range_push(f"step {step}")
    loss = model(torch.randn(64, 512).cuda()).square().mean()
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    torch.cuda.nvtx.range_pop()
"""

PROFILER = """
import sys, time, torch
from torch.profiler import ProfilerActivity, profile

model = torch.nn.Linear(64, 64).cuda()
def step():
    model(torch.ones(8, 64).cuda()).sum().backward()
    torch.cuda.synchronize()

def say(found):
    cuda = torch.profiler.DeviceType.CUDA
    events = [e for e in found.profiler.kineto_results.events() if e.device_type() == cuda]
    print(sorted(e.name() for e in events), all(0 < e.duration_ns() < 10**8 for e in events))

both = [ProfilerActivity.CPU, ProfilerActivity.CUDA]
if sys.argv[1] == "schedule":
    plan = torch.profiler.schedule(wait=1, warmup=1, active=2, repeat=2)
    with profile(activities=both, schedule=plan, on_trace_ready=say) as found:
        for _ in range(8):
            step()
            found.step()
else:
    if sys.argv[1] == "collector-first":
        step()
    for cycle in range(3):
        with profile(activities=both) as found:
            step()
        say(found)
        time.sleep(0.5)
        step()
time.sleep(0.6)
late = torch.zeros(8 << 20, device="cuda").add_(1)
"""


@pytest.fixture
def script(tmp_path):
    def write(source):
        path = tmp_path / "script.py"
        path.write_text(source)
        return path

    return write


def test_tensors_have_first_and_last_uses_in_gpu_time(dryrun, analyze, script):
    gpu = analyze(dryrun(script(TRAINING), gpu="2GiB", options=("--timeline=2",))).gpu_time
    assert gpu["recorded"]
    assert gpu["kernels"] > 20
    assert gpu["copies"] >= 2
    assert gpu["unknown_parameters"] == 0, "cuBLAS is reached by the hooks of dlsym and cuGetProcAddress"
    weights = [t for t in gpu["tensors"] if t["shape"] == [512, 512] and t["category"] == "parameter"]
    assert len(weights) == 2
    for weight in weights:
        assert weight["bytes"] == MIB
        assert weight["dtype"] == "float32"
        assert weight["uses"] >= 4
        assert weight["allocated_ns"] <= weight["first_use_ns"] < weight["last_use_ns"]
        assert not weight["idle"]


def test_a_death_names_the_ranges_that_were_open(dryrun, analyze, script):
    source = """
import threading, torch

with torch.cuda.nvtx.range("outer"):
    with torch.cuda.nvtx.range("done"):
        pass
    torch.cuda.nvtx.range_end(torch.cuda.nvtx.range_start("ended"))
    threading.Thread(target=torch.cuda.nvtx.range_start, args=("of a thread",)).start()
    torch.cuda.nvtx.range_push("inner")
    keep = [torch.zeros(64 << 20, device="cuda") for _ in range(100)]
"""
    verdict = analyze(dryrun(script(source), gpu="1GiB"))
    assert verdict.out_of_memory["ranges"] == ["outer", "inner", "of a thread"]


@pytest.mark.parametrize("order", ["collector-first", "profiler-first", "schedule"])
def test_the_profiler_loses_nothing_beside_the_collector(dryrun, analyze, script, order):
    path = script(PROFILER)
    alone = dryrun(path, order, gpu="2GiB", record=False)
    beside = dryrun(path, order, gpu="2GiB", options=("--timeline=1000",))
    assert alone.status == beside.status == 0, beside.stderr
    assert alone.stdout == beside.stdout, "the same kernels and copies"
    cycles = alone.stdout.splitlines()
    assert len(cycles) == (2 if order == "schedule" else 3)
    assert all("gemm" in cycle.lower() and cycle.endswith("True") for cycle in cycles)
    gpu = analyze(beside).gpu_time
    assert sum("another profiler had CUPTI" in note for note in gpu["notes"]) >= (1 if order == "schedule" else 3)
    (late,) = [tensor for tensor in gpu["tensors"] if tensor["shape"] == [8 * MIB]]
    assert late["uses"] == 2, "after the profiler's last cycle the collector is back"
    said = run([OOMTRACE, "doctor", beside.trace]).stdout
    assert "stepped aside: another client" in said
    assert "a window is open: the other profiler is done" in said


@pytest.mark.parametrize(
    ("env", "reason"),
    [
        ({"OOMTRACE_SIM_CUPTI": "busy"}, "another tool"),
        ({"OOMTRACE_SIM_CUPTI": "nodriver"}, "no driver"),
        ({"OOMTRACE_SIM_CUPTI": "perm"}, "permit"),
        ({"OOMTRACE_SIM_CUPTI_VERSION": "17"}, "older than CUDA 12.1"),
        ({"CUDA_INJECTION64_PATH": "/opt/tool.so"}, "another tool is injected"),
        ({"OOMTRACE_CUPTI": "off"}, ""),
    ],
)
def test_without_cupti_the_report_says_why_and_the_job_runs(dryrun, analyze, script, env, reason):
    job = dryrun(script(TRAINING), gpu="2GiB", options=("--timeline=1",), env=env)
    assert job.status == 0, job.stderr
    gpu = analyze(job).gpu_time
    assert not gpu["recorded"]
    assert reason in gpu["state"]
    assert bool(gpu["state"]) == bool(reason)


@pytest.mark.parametrize("version", ["18", "28", "130201", "130500"])
def test_every_version_of_cupti_gives_the_same_timeline(dryrun, analyze, script, version):
    env = {"OOMTRACE_SIM_CUPTI_VERSION": version}
    gpu = analyze(dryrun(script(TRAINING), gpu="2GiB", options=("--timeline=1",), env=env)).gpu_time
    assert gpu["recorded"]
    assert gpu["kernels"] > 10
    assert gpu["unknown_parameters"] == 0


HIDDEN = {
    "without the dlsym hook": """
        runtime = ctypes.CDLL("libcudart.so.13")
        address = ctypes.c_void_p()
        assert runtime.cudaMalloc(ctypes.byref(address), ctypes.c_size_t(32 << 20)) == 0
    """,
    "bound past the recorder": """
        library = ctypes.CDLL(sys.argv[1], mode=os.RTLD_NOW | os.RTLD_DEEPBIND)
        assert library.TakeMemory(ctypes.c_size_t(32 << 20)) == 0
    """,
}


@pytest.mark.parametrize("route", HIDDEN)
def test_memory_that_no_hook_saw_is_found_by_cupti(dryrun, analyze, script, route):
    source = "import ctypes, os, sys, torch\ntorch.zeros(1, device='cuda')\n" + textwrap.dedent(HIDDEN[route])
    env = {"OOMTRACE_CUPTI": "mem"} | ({"OOMTRACE_DLSYM": "0"} if route == "without the dlsym hook" else {})
    library = BUILD / "bin" / "routes" / "libpast_the_hook.so"
    job = dryrun(script(source), library, gpu="1GiB", env=env)
    assert job.status == 0, job.stderr
    gpu = analyze(job).gpu_time
    (unseen,) = gpu["unseen"]
    assert (unseen["bytes"], unseen["live"], unseen["allocations"]) == (32 * MIB, 32 * MIB, 1)
    if route == "bound past the recorder":
        assert unseen["library"] == str(library)
    assert gpu["audited_bytes"] == 32 * MIB + 2 * MIB, "and PyTorch's segment"
    assert "the hooks missed 1 of 32.00 MiB" in gpu["audit"]
    assert not gpu["recorded"]


def test_the_hooks_miss_nothing_of_a_training(dryrun, analyze, script):
    for setting in ("", "backend:cudaMallocAsync", "expandable_segments:True"):
        env = {"OOMTRACE_CUPTI": "mem", "PYTORCH_CUDA_ALLOC_CONF": setting}
        gpu = analyze(dryrun(script(TRAINING), gpu="2GiB", env=env)).gpu_time
        assert gpu["unseen"] == []
        if setting == "expandable_segments:True":
            assert gpu["unlisted_bytes"] > 2 * MIB, "CUPTI does not list physical memory"
        else:
            assert gpu["audited_allocations"] > 1
            assert gpu["unlisted_bytes"] == 0


def test_losses_of_cupti_are_told(dryrun, analyze, script):
    for mode, note in (("drop", "CUPTI dropped"), ("zerotime", "kernels have no time")):
        job = dryrun(script(TRAINING), gpu="2GiB", options=("--timeline=1",), env={"OOMTRACE_SIM_CUPTI": mode})
        notes = analyze(job).gpu_time["notes"]
        assert any(note in line for line in notes), notes


def test_at_a_death_nothing_is_called_idle(dryrun, analyze, script):
    source = """
import torch

old = torch.zeros(16 << 20, device="cuda")
for _ in range(50):
    new = torch.zeros(1 << 20, device="cuda")
torch.zeros(1 << 30, device="cuda")
"""
    job = dryrun(script(source), gpu="1GiB", options=("--timeline",))
    verdict = analyze(job)
    assert verdict.status == 3
    gpu = verdict.gpu_time
    assert gpu["idle_bytes"] == 0, "what would have been used again, nobody saw"
    assert gpu["moment_ns"] == pytest.approx(gpu["dormant"][0]["last_use_ns"] + gpu["dormant"][0]["unused_ns"])
    assert gpu["dormant"][0]["shape"] == [16 * MIB]
    assert gpu["dormant"][0]["last_site"].endswith("script.py:4")
    assert "Unused for longest when memory ran out" in run([OOMTRACE, "analyze", job.trace]).stdout


def test_what_is_freed_unused_while_the_gpu_works_was_idle(dryrun, analyze, script):
    source = """
import torch

kept = torch.zeros(16 << 20, device="cuda")
peak = torch.ones(32 << 20, device="cuda")
del kept, peak
for _ in range(10):
    torch.zeros(1 << 20, device="cuda")
"""
    job = dryrun(script(source), gpu="1GiB", options=("--timeline",))
    gpu = analyze(job).gpu_time
    assert gpu["idle_bytes"] == 64 * MIB
    assert [tensor["shape"] for tensor in gpu["dormant"]] == [[16 * MIB]]
    text = " ".join(run([OOMTRACE, "analyze", job.trace]).stdout.split())
    assert "64.00 MiB lay idle at the peak" in text
    assert "script.py:4; unused for" in text


def test_nothing_is_called_idle_past_kernels_that_may_have_used_it(dryrun, analyze, script):
    source = """
import torch

graph, fixed = torch.cuda.CUDAGraph(), torch.zeros(64, device="cuda")
with torch.cuda.graph(graph):
    fixed.add_(1)
kept = torch.zeros(16 << 20, device="cuda")
peak = torch.ones(32 << 20, device="cuda")
graph.replay()
del kept, peak
for _ in range(10):
    torch.zeros(1 << 20, device="cuda")
"""
    gpu = analyze(dryrun(script(source), gpu="1GiB", options=("--timeline",))).gpu_time
    assert (gpu["graph_kernels"], gpu["unknown_parameters"]) == (1, 1)
    assert gpu["idle_bytes"] == 0
    assert any("what they use is not known" in note for note in gpu["notes"])


def test_compiled_kernels_tell_what_they_use(dryrun, analyze, script):
    source = """
import torch

x = torch.zeros(4 << 20, device="cuda")
y = torch.compile(lambda x: (x * 2 + 1).relu())(x)
torch.cuda.synchronize()
"""
    gpu = analyze(dryrun(script(source), gpu="1GiB", options=("--timeline",))).gpu_time
    assert gpu["unknown_parameters"] == 0
    assert {t["last_kernel"].split("_")[0] for t in gpu["tensors"] if t["shape"] == [4 * MIB]} == {"triton"}


def test_run_records_a_timeline_too(script, tmp_path):
    trace = tmp_path / "t.oomtrace"
    inner = [OOMTRACE, "run", "--timeline=2-3", "-o", trace, "--", sys.executable, script(TRAINING)]
    job = run([OOMTRACE, "dryrun", "--gpu", "2GiB", "--no-record", "--", *inner])
    assert job.status == 0, job.stderr
    said = run([OOMTRACE, "doctor", trace]).stdout
    assert "a window is open\n" in said
    assert "watches memory: the steps asked for are over" in said


def test_the_checks_for_a_real_gpu_run_and_say_so_without_one():
    checks = [sys.executable, REPOSITORY / "bench" / "cupti_checks.py", "--quick"]
    job = run([OOMTRACE, "dryrun", "--gpu", "2GiB", "--no-record", "--", *checks])
    assert job.status == 0, job.stderr
    found = [json.loads(line) for line in job.stdout.splitlines()]
    assert [line["check"][0] for line in found] == ["m", "1", "1", "1", "2", "2", "3", "5", "9", "6", "8"]
    (graphs,) = [line for line in found if line["check"] == "3 kernels of graphs"]
    assert graphs["graph_kernels"] == graphs["expected"]
    (profiler,) = [line for line in found if line["check"][0] == "5"]
    assert profiler["kernels_alone"] == profiler["kernels_beside"] == ["100"] * 3
    assert profiler["uses_afterwards"] == [2]
    without = run(checks)
    assert without.status == 1
    assert without.stderr.startswith("cupti_checks: ")


def test_steps_that_make_no_sense_are_refused():
    for steps in ("0", "x", "3-", "-", "12-10"):
        job = run([OOMTRACE, "run", f"--timeline={steps}", "--", "true"])
        assert job.status == 1
        assert "expected a number of optimizer steps" in job.stderr
