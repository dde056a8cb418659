"""What the recorder's variables do to a recording, where it takes a job to see it."""

import sys

import pytest
from harness import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "tests" / "kill"))
from trace_file import read  # noqa: E402

PLAIN = """
import ctypes

def take():
    runtime.cudaMalloc(ctypes.byref(address), ctypes.c_size_t(1 << 20))

address = ctypes.c_void_p()
runtime = ctypes.CDLL("libcudart.so.13")
for _ in range(4):
    take()
"""

TRAINING = """
import torch
model = torch.nn.Linear(512, 512).cuda()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
kept = []
for _ in range(4):
    kept.append(torch.ones(1 << 20, device="cuda"))
    model(torch.ones(64, 512, device="cuda")).sum().backward()
    optimizer.step()
    optimizer.zero_grad()
"""


@pytest.fixture
def recorded(tmp_path, dryrun):
    def start(source, **env):
        script = tmp_path / "script.py"
        script.write_text(source)
        job = dryrun(script, gpu="2GiB", env=env)
        assert job.status == 0, job.stderr
        return read(job.trace)

    return start


@pytest.mark.parametrize("word", ["on", "off", "No", "0"])
def test_stacks_of_plain_python_obey_every_word_of_the_switch(recorded, word):
    trace = recorded(PLAIN, OOMTRACE_STACKS=word)
    assert bool(trace.facts["stack"]) == (word == "on")


@pytest.mark.parametrize(
    ("variables", "searched"),
    [
        ({"OOMTRACE_CUPTI": "timeline"}, True),
        ({"OOMTRACE_TIMELINE": "nonsense"}, True),  # the default window, as the collector takes it
        ({"OOMTRACE_TIMELINE": "3", "OOMTRACE_CUPTI": "off"}, False),
    ],
    ids=["tier", "nonsense", "off"],
)
def test_the_window_of_a_timeline_is_the_collectors(recorded, variables, searched):
    trace = recorded(TRAINING, **variables)
    assert bool(trace.of("holder")) == searched
