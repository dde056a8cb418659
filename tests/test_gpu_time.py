"""The GPU timeline, the collector beside PyTorch's profiler, and NVTX, on the simulated GPU."""

import pytest
from harness import MIB, OOMTRACE, run

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

if "collector-first" in sys.argv:
    step()
for cycle in range(3):
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as found:
        step()
    cuda = torch.profiler.DeviceType.CUDA
    events = [e for e in found.profiler.kineto_results.events() if e.device_type() == cuda]
    print(len(events), all(0 < e.duration_ns() < 10**8 for e in events))
    time.sleep(0.5)
    step()
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
import torch

with torch.cuda.nvtx.range("outer"):
    with torch.cuda.nvtx.range("done"):
        pass
    torch.cuda.nvtx.range_push("inner")
    keep = [torch.zeros(64 << 20, device="cuda") for _ in range(100)]
"""
    verdict = analyze(dryrun(script(source), gpu="1GiB"))
    assert verdict.out_of_memory["ranges"] == ["outer", "inner"]


@pytest.mark.parametrize("order", ["collector-first", "profiler-first"])
def test_the_profiler_loses_nothing_beside_the_collector(dryrun, analyze, script, order):
    path = script(PROFILER)
    alone = dryrun(path, order, gpu="2GiB", record=False)
    beside = dryrun(path, order, gpu="2GiB", options=("--timeline=1000",))
    assert alone.status == beside.status == 0, beside.stderr
    assert alone.stdout == beside.stdout
    assert "True" in alone.stdout and "False" not in alone.stdout
    gpu = analyze(beside).gpu_time
    assert gpu["kernels"] > 0, "between the profiler's cycles the collector comes back"
    assert sum("another profiler had CUPTI" in note for note in gpu["notes"]) >= 1


@pytest.mark.parametrize(("mode", "reason"), [("busy", "another tool"), ("nodriver", "no driver"), ("perm", "permit")])
def test_without_cupti_the_report_says_why_and_the_job_runs(dryrun, analyze, script, mode, reason):
    job = dryrun(script(TRAINING), gpu="2GiB", options=("--timeline=1",), env={"OOMTRACE_SIM_CUPTI": mode})
    assert job.status == 0, job.stderr
    gpu = analyze(job).gpu_time
    assert not gpu["recorded"]
    assert reason in gpu["state"]


@pytest.mark.parametrize("version", ["18", "28", "130201", "130500"])
def test_every_version_of_cupti_gives_the_same_timeline(dryrun, analyze, script, version):
    env = {"OOMTRACE_SIM_CUPTI_VERSION": version}
    gpu = analyze(dryrun(script(TRAINING), gpu="2GiB", options=("--timeline=1",), env=env)).gpu_time
    assert gpu["recorded"]
    assert gpu["kernels"] > 10
    assert gpu["unknown_parameters"] == 0


def test_memory_that_no_hook_saw_is_found_by_cupti(dryrun, analyze, script):
    source = """
import ctypes, torch

torch.zeros(1, device="cuda")
runtime = ctypes.CDLL("libcudart.so.13")
address = ctypes.c_void_p()
assert runtime.cudaMalloc(ctypes.byref(address), ctypes.c_size_t(32 << 20)) == 0
"""
    env = {"OOMTRACE_CUPTI": "mem", "OOMTRACE_DLSYM": "0"}
    gpu = analyze(dryrun(script(source), gpu="1GiB", env=env)).gpu_time
    assert sum(unseen["bytes"] for unseen in gpu["unseen"]) == 32 * MIB
    assert not gpu["recorded"]


def test_steps_that_make_no_sense_are_refused():
    for steps in ("0", "x", "3-", "-", "12-10"):
        job = run([OOMTRACE, "run", f"--timeline={steps}", "--", "true"])
        assert job.status == 1
        assert "expected a number of optimizer steps" in job.stderr
