"""One rank of a data-parallel job gets larger batches and dies: it is the cause, the other one a victim."""

import json
import subprocess

from conftest import BUILD

UNEVEN = """
import datetime, os
import torch
import torch.distributed as dist

dist.init_process_group("gloo", timeout=datetime.timedelta(seconds=20))
rank = dist.get_rank()
model = torch.nn.Sequential(*[torch.nn.Linear(1024, 1024) for _ in range(8)]).cuda()
optimizer = torch.optim.AdamW(model.parameters())
for step in range(40):
    batch = 2048 * (1 + (step * 4 if rank == 1 else 0))
    model(torch.randn(batch, 1024, device="cuda")).square().mean().backward()
    optimizer.step()
    optimizer.zero_grad()
    dist.all_reduce(torch.ones(1))
"""


def test_the_rank_that_died_first_and_its_victim(job):
    job.write(UNEVEN, "uneven.py")
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "uneven.py"]
    status, _, err = job.run(*launch, GLOO_SOCKET_IFNAME="lo", OOMTRACE_SIM_GPU="2GiB")
    assert status != 0, err
    analyze = [BUILD / "bin" / "oomtrace", "analyze"]
    shown = subprocess.run([*analyze, "--format", "json", job.directory], capture_output=True, text=True)
    assert shown.returncode == 3, shown.stderr
    reports = json.loads(shown.stdout)
    assert len(reports) == 2
    merged = reports[0]["job"]
    assert "job" not in reports[1]
    assert (merged["first_rank"], merged["certain"], merged["world_size"]) == (1, True, 2)
    assert [rank["role"] for rank in merged["ranks"]] == ["victim", "cause"]
    assert any("Activations" in reason for reason in merged["reasons"]), merged["reasons"]
    text = subprocess.run([*analyze, job.directory], capture_output=True, text=True).stdout
    assert text.startswith("rank 1 of 2 ran out of memory first")
    assert "Trace: " in text
