"""Python stacks in the trace: whose forward a backward belongs to, and programs whose stacks are hard to take."""

import sys

import pytest
from harness import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "tests" / "kill"))
from trace_file import read  # noqa: E402

CARD = {"gpu": "rtx4070"}

FORWARD = """
import torch

class Block(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = torch.nn.Linear(512, 1536)
        self.out = torch.nn.Linear(512, 512)

    def forward(self, x):
        q, k, v = self.fc(x).split(512, dim=-1)  # SplitBackward0
        y = q * k  # MulBackward0
        y = y + v
        return self.out(torch.relu(y))  # ReluBackward0

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = torch.nn.ModuleList(Block() for _ in range(3))

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return x.sum()

net = Net().cuda()
optimizer = torch.optim.AdamW(net.parameters())
for _ in range(2):
    net(torch.randn(64, 512, device="cuda")).backward()
    optimizer.step()
    optimizer.zero_grad()
"""


@pytest.fixture
def record(tmp_path, dryrun):
    """record(source): its path, the job and its trace, decoded."""

    def start(source, **more):
        script = tmp_path / "program.py"
        script.write_text(source)
        job = dryrun(script, **CARD, **more)
        assert job.status == 0, job.stderr[-3000:]
        return str(script), job, read(job.trace)

    return start


def test_backward_belongs_to_the_forward_it_differentiates(record):
    script, _, trace = record(FORWARD)
    paths = {module["identity"]: trace.string(module.get("path", 0)) for module in trace.facts["module"]}
    seen = {}
    for context in trace.by_id["context"].values():
        if not context.get("forward_stack"):
            continue
        node = trace.string(context["node"])
        stack = trace.by_id["stack"][context["forward_stack"]]
        user = [(function, line) for file, function, line in trace.stack(stack["id"]) if file == script]
        seen.setdefault(node, {})[paths[stack["module"]]] = user[0]
    lines = FORWARD.splitlines()
    for name in ("SplitBackward0", "MulBackward0", "ReluBackward0"):  # the first is a view
        (node,) = [node for node in seen if name in node]
        (line,) = [number for number, text in enumerate(lines, 1) if text.endswith(f"# {name}")]
        assert set(seen[node]) == {f"blocks.{i}" for i in range(3)}, name
        assert {line for _, line in seen[node].values()} == {line}, name
        assert {function.rsplit(".")[-1] for function, _ in seen[node].values()} == {"forward"}
    (linear,) = [node for node in seen if "AddmmBackward0" in node]
    assert set(seen[linear]) == {f"blocks.{i}.{name}" for i in range(3) for name in ("fc", "out")}


GENERATED = """
import torch

keep = torch.zeros(1, device="cuda")
for number in range(2000):
    source = "\\n" * (number % 50) + f"def f{number % 7}(): return torch.empty(1 << 10, device='cuda')"
    space = {"torch": torch}
    exec(compile(source, f"<cell {number % 11}>", "exec"), space)
    space[f"f{number % 7}"]()
"""


def test_code_at_the_address_of_dead_code_has_names_of_its_own(record):
    _, _, trace = record(GENERATED)
    stacks = [trace.stack(block["stack"]) for block in trace.of("tensor_alloc") if block.get("stack")]
    generated = [stack[0] for stack in stacks if stack[0][0].startswith("<cell")]
    assert generated == [(f"<cell {n % 11}>", f"f{n % 7}", n % 50 + 1) for n in range(2000)]


REPEATED = """
import torch

keep = torch.zeros(1, device="cuda")
for _ in range(3000):
    space = {"torch": torch}
    exec(compile("def f(): return torch.empty(1 << 10, device='cuda')", "<generated>", "exec"), space)
    space["f"]()
"""


def test_code_that_is_generated_again_and_again_is_written_once(record):
    _, _, trace = record(REPEATED)
    assert len([block for block in trace.of("tensor_alloc") if block["bytes"] == 4096]) == 3000
    assert len([frame for frame in trace.facts["frame"] if trace.string(frame["file"]) == "<generated>"]) == 1
    assert len(trace.facts["stack"]) < 20 and len(trace.facts["site"]) < 20
    assert trace.failed_stacks == 0


IN_A_THREAD = """
import sys
import threading

class Finder:
    # The finder behind that of the recorder: asked for every module that is imported.
    asked = []

    def find_spec(self, name, path=None, target=None):
        self.asked.append(name)

sys.meta_path.insert(0, Finder())
import torch

found = {name for name in sys.modules if name.startswith("torch.optim.") and sys.modules[name].__spec__}
assert "torch.optim.adamw" in found and found <= set(Finder.asked), "passed over"
assert not [finder for finder in sys.meta_path if "Watch" in str(finder)], "the recorder stays in the way of imports"

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first = torch.nn.Linear(256, 256)
        self.second = torch.nn.Linear(256, 256)

    def forward(self, x):
        x = self.first(x)
        return self.second(x)

def work():
    model = Net().cuda()
    try:
        loss = model(torch.randn(32, 256, device="cuda"))
        torch.empty(1 << 40, device="cuda")
    except torch.OutOfMemoryError:
        print("died in the first forward")

thread = threading.Thread(target=work)
thread.start()
thread.join()  # the main thread makes no pending calls meanwhile
"""


def test_a_thread_has_stacks_and_names_from_its_first_forward_on(record):
    script, job, trace = record(IN_A_THREAD)
    assert "died in the first forward" in job.stdout
    blocks = trace.of("tensor_alloc")
    assert all(any(file == script for file, _, _ in trace.stack(block["stack"])) for block in blocks)
    paths = {module["identity"]: trace.string(module.get("path", 0)) for module in trace.facts["module"]}
    called = {paths.get(trace.by_id["stack"][block["stack"]].get("module")) for block in blocks}
    assert {"first", "second"} <= called


IN_TWO_THREADS = """
import os
import threading
import torch

def first(weight):
    return [weight * 2 for _ in range(20)]  # first

def second(weight):
    return [weight * 3 for _ in range(20)]  # second

weights = [torch.ones(1000, device="cuda", requires_grad=True) for _ in range(2)]
products = [None, None]
barrier = threading.Barrier(2)

def work(index, forward):  # both count their nodes from 0
    barrier.wait()
    products[index] = forward(weights[index])

threads = [threading.Thread(target=work, args=(i, f)) for i, f in enumerate((first, second))]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
for index in (0, 1):
    grads = torch.autograd.grad(sum(products[index]).sum(), weights[index], create_graph=True)
os._exit(0)  # at an ordinary exit PyTorch's engine sometimes aborts here, with and without a recorder
"""


def test_threads_that_count_alike_are_told_apart(record):
    _, _, trace = record(IN_TWO_THREADS)
    lines = IN_TWO_THREADS.splitlines()
    forward = {}  # backward's phase -> functions whose gradients it computed
    phase = 0
    for _, kind, packet in trace.events:
        if kind == "phase" and packet["kind"] == 1:
            phase += 1
        if kind != "tensor_alloc" or not packet.get("context"):
            continue
        context = trace.by_id["context"][packet["context"]]
        if context.get("forward_stack") and "MulBackward0" in trace.string(context.get("node")):
            _, _, line = trace.stack(context["forward_stack"])[0]
            forward.setdefault(phase, set()).add(lines[line - 1].split("# ")[-1])
    assert forward == {1: {"first"}, 2: {"second"}}
