"""What is folded away for want of room is missed by nobody: a small trace leads to the report of a large one."""

import json
import subprocess

from conftest import BUILD
from trace_file import read

SCRIPT = """
import torch
model = torch.nn.Sequential(*[torch.nn.Linear(64, 64) for _ in range(12)]).cuda()
optimizer = torch.optim.AdamW(model.parameters())
history = []
for step in range(1200):
    model(torch.randn(64, 64, device="cuda")).square().mean().backward()
    optimizer.step()
    optimizer.zero_grad()
    history.append(torch.empty(1 << 16, device="cuda"))
    if step == 300:
        once = torch.empty(1 << 27, device="cuda")  # the peak, long before the end
        del once
"""


def figures(report):
    peak, leak = report["peak"], report["leak"]
    return (
        report["pattern"],
        report["steps_completed"],
        [peak[name] for name in ("bytes", "phase", "step", "reserved")],
        [leak[name] for name in ("bytes_per_step", "site")],
    )


def report(job, budget):
    assert job.run(job.write(SCRIPT), OOMTRACE_BUDGET=budget)[0] == 0
    (path,) = job.traces()
    trace = read(path)
    analysis = subprocess.run(
        [BUILD / "bin" / "oomtrace", "analyze", "--format", "json", path], stdout=subprocess.PIPE, text=True
    )
    size = path.stat().st_size
    path.unlink()
    return trace, json.loads(analysis.stdout), size


def test_the_report_is_that_of_a_trace_with_room(job):
    whole, expected, _ = report(job, "64MiB")
    assert whole.folded == 0
    folded, told, size = report(job, "1MiB")
    assert size <= 1 << 20
    assert folded.fold_generation > 1
    assert folded.folded > 100_000
    assert folded.recycled == folded.dropped == 0
    assert expected["leak"]["bytes_per_step"] == 1 << 18
    assert figures(told) == figures(expected)
    assert sorted(folded.live().values()) == sorted(whole.live().values())
