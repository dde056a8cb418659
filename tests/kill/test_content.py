"""What the trace says about an ordinary training and its death is what really happened."""

import re

from kill_scripts import LEAK, THREAD, TRAIN
from trace_file import read

OUT_OF_MEMORY_LINE = r"oomtrace: CUDA out of memory was recorded in (\S+); run: oomtrace analyze (\S+)"


def test_leak_is_told_with_line_and_holder(job):
    status, _, err = job.run(job.write(LEAK))
    assert status == 1
    (line,) = [line for line in err.splitlines() if line.startswith("oomtrace")]
    (path,) = job.traces()
    assert re.fullmatch(OUT_OF_MEMORY_LINE, line).groups() == (str(path), str(path))

    trace = read(path)
    (refusal,) = trace.of("out_of_memory")
    assert refusal["bytes"] == 1 << 30
    said = float(re.search(r"Of the allocated memory ([\d.]+) GiB", err).group(1))
    assert abs(refusal["allocated"] / 2**30 - said) < 0.006
    assert trace.by_id["layout"][refusal["layout"]]["size"] == [1 << 28]
    file, function, number = trace.stack(refusal["stack"])[0]
    assert (file.rsplit("/", 1)[-1], function) == ("train.py", "Collector.run")
    assert LEAK.splitlines()[number - 1].endswith("# the line that dies")
    holders = [trace.string(holder["path"]) for holder in trace.of("holder")]
    assert "Collector.history[0]" in holders
    assert refusal["device_total"] == trace.facts["device"][0]["total"]


def test_training_is_told_step_by_step(job):
    _, out, _ = job.run(job.write(TRAIN), "9", "end")
    trace = read(job.traces()[0])
    kinds = [phase["kind"] for phase in trace.of("phase")]
    assert kinds == [5] + [1, 2, 3, 4] * 10
    roles = {(trace.string(role["name"]), role["role"]) for role in trace.of("tensor_role")}
    for name in ("0.weight", "0.bias", "2.weight", "2.bias"):
        assert {(name, 1), (name, 3), (f"{name}: exp_avg", 4), (f"{name}: exp_avg_sq", 4)} <= roles
    assert {trace.string(module.get("path", 0)) for module in trace.facts["module"]} == {"", "0", "1", "2"}
    (optimizer,) = trace.facts["optimizer"]
    assert trace.string(optimizer["type"]) == "AdamW"
    assert optimizer["parameter_count"] == 64 * 256 + 256 + 256 * 64 + 64
    assert optimizer["parameter_bytes"] == 4 * optimizer["parameter_count"]


def test_every_allocation_is_attributed(job):
    job.run(job.write(TRAIN), "9", "end")
    trace = read(job.traces()[0])
    blocks = trace.of("tensor_alloc")
    assert all(block.get("stack") for block in blocks)
    contexts = trace.by_id["context"]
    backward = [block for block in blocks if contexts[block["context"]].get("backward")]
    assert backward and all(contexts[block["context"]].get("node") for block in backward)
    for block in backward:  # the engine's threads have no Python stack: the statement that started them stands for them
        assert any(
            TRAIN.splitlines()[line - 1].strip() == "loss.backward()"
            for file, _, line in trace.stack(block["stack"])
            if file.endswith("train.py")
        )
    in_modules = {trace.by_id["stack"][block["stack"]].get("module") for block in blocks} - {None}
    known = {module["identity"] for module in trace.facts["module"]}
    assert in_modules and in_modules <= known
    shaped = [block for block in blocks if block.get("layout")]
    assert len(shaped) > 0.9 * len(blocks)
    sizes = {0: 1, 1: 1, 2: 2, 3: 4, 4: 8, 5: 2, 6: 4, 7: 8, 11: 1, 15: 2}  # bytes, by c10::ScalarType
    for block in shaped:
        layout = trace.by_id["layout"][block["layout"]]
        elements = 1
        for size in layout.get("size", []):
            elements *= size
        needed = elements * sizes[layout.get("dtype", 0)]
        assert needed <= block["bytes"] < max(needed, 1) + (2 << 20)


def test_device_memory_adds_up(job):
    job.run(job.write(TRAIN), "9", "end")
    trace = read(job.traces()[0])
    asked, free_before = 0, None
    for _, kind, packet in trace.events:
        if kind == "device_alloc" and packet.get("result", 0) == 0:
            asked += packet["bytes"]
        elif kind == "memory_info":
            if free_before is not None:
                assert free_before[0] - packet["free"] == asked - free_before[1]
            free_before = (packet["free"], asked)
    libraries = {
        trace.by_id["library"][event["library"]]["path"].rsplit("/", 1)[-1] for event in trace.of("device_alloc")
    }
    assert "libc10_cuda.so" in libraries
    reserved = [event["reserved"] for event in trace.of("tensor_alloc") if "reserved" in event][-1]
    segments = sum(
        event["bytes"]
        for event in trace.of("device_alloc")
        if trace.by_id["library"][event["library"]]["path"].endswith("libc10_cuda.so")
    )
    assert reserved == segments


def test_caught_out_of_memory_goes_on(job):
    script = """
import torch
kept = []
def fill():
    try:
        while True:
            kept.append(torch.empty(1 << 28, device="cuda"))
    except torch.OutOfMemoryError:
        return len(kept)
print(fill())
kept.clear()
print(torch.ones(4, device="cuda").shape[0])
"""
    status, out, _ = job.run(job.write(script))
    assert (status, out.split()) == (0, ["11", "4"])
    trace = read(job.traces()[0])
    moment = next(ticks for ticks, kind, _ in trace.events if kind == "out_of_memory")
    assert any(ticks > moment and kind == "tensor_alloc" for ticks, kind, _ in trace.events)
    assert trace.of("exit")[0].get("status", 0) == 0


def test_expandable_segments_are_seen(job):
    _, out, _ = job.run(job.write(TRAIN), "3", "end", PYTORCH_ALLOC_CONF="expandable_segments:True")
    trace = read(job.traces()[0])
    mapped = [event for event in trace.of("device_alloc") if trace.string(event["api"]) == "cuMemMap"]
    reserved = [event["reserved"] for event in trace.of("tensor_alloc") if "reserved" in event][-1]
    assert sum(event["bytes"] for event in mapped) == reserved


def test_without_the_caching_allocator(job):
    script = """
import torch
kept = []
while True:
    kept.append(torch.empty(1 << 28, device="cuda"))
"""
    for environment in ({"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}, {"PYTORCH_ALLOC_CONF": "backend:cudaMallocAsync"}):
        status, _, _ = job.run(job.write(script), **environment)
        assert status == 1
        (path,) = job.traces()
        trace = read(path)
        (refusal,) = trace.of("out_of_memory")
        assert (refusal["source"], refusal["bytes"]) == (2, 1 << 30)
        assert trace.stack(refusal["stack"])[0][2] == 5
        path.unlink()


def test_compiled_model_has_as_many_backwards_as_steps(job):
    script = """
import torch
model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.GELU(), torch.nn.Linear(64, 8)).cuda()
compiled = torch.compile(model, backend="aot_eager")
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(4):
    compiled(torch.randn(4, 64, device="cuda")).sum().backward()
    optimizer.step()
    optimizer.zero_grad()
"""
    assert job.run(job.write(script))[0] == 0
    trace = read(job.traces()[0])
    assert [phase["kind"] for phase in trace.of("phase")] == [1, 2, 3, 4] * 4


def test_training_in_a_thread_has_steps_and_stacks(job):
    status, _, err = job.run(job.write(THREAD))
    assert status == 0, err
    trace = read(job.traces()[0])
    assert [phase["kind"] for phase in trace.of("phase")] == [1, 2, 3, 4] * 4
    line = 1 + next(n for n, text in enumerate(THREAD.splitlines()) if text.endswith("# the forward"))
    stacks = [trace.stack(alloc["stack"]) for alloc in trace.of("tensor_alloc") if alloc.get("stack")]
    assert any(frame[1:] == ("work", line) for stack in stacks for frame in stack), stacks
