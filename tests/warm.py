"""Runs scripts in children of one interpreter that has imported PyTorch, which takes longer than a small training, and
the modules that its arguments name.

Reads requests from stdin, one JSON object a line (WarmInterpreter in harness.py): forks, waits, and answers with the
child's process id and exit status. The child runs the script as `__main__`, and at its end writes what PyTorch said was
allocated after each step of the first optimizer: the truth to compare a report with.
"""

import atexit
import importlib
import json
import os
import sys

import torch._dynamo
from torch.optim.optimizer import register_optimizer_step_post_hook


def write_truth_at_exit(file):
    # The names of this file are gone by the time that the hooks run.
    first, allocated, cuda = [], [], torch.cuda

    def after_step(optimizer, arguments, keywords):
        if not first:
            first.append(id(optimizer))
        # A pluggable allocator counts nothing.
        if id(optimizer) == first[0] and cuda.get_allocator_backend() in ("native", "cudaMallocAsync"):
            allocated.append(cuda.memory_allocated())

    register_optimizer_step_post_hook(after_step)
    atexit.register(lambda path=file, dump=json.dumps, opened=open: opened(path, "w").write(dump(allocated)))


def next_request():
    """Returns a request in each child; the parent ends with its input."""
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            return json.loads(line)
        _, status = os.waitpid(child, 0)
        print(json.dumps({"pid": child, "status": os.waitstatus_to_exitcode(status)}), flush=True)
    sys.exit()


def redirect(path, descriptor, flags):
    file = os.open(path, flags, 0o600)
    os.dup2(file, descriptor)
    os.close(file)


def prepare(request):
    """Turns this process into one that was started for the script: its code."""
    redirect(os.devnull, 0, os.O_RDONLY)
    redirect(request["stdout"], 1, os.O_WRONLY | os.O_CREAT)
    redirect(request["stderr"], 2, os.O_WRONLY | os.O_CREAT)
    script = request["script"]
    os.environ["OOMTRACE_SIM_CAPACITY"] = str(request["capacity"])
    os.environ.update(request["environment"])
    sys.argv = [script, *request["arguments"]]
    sys.path[0] = os.path.dirname(script)
    write_truth_at_exit(request["truth"])
    with open(script) as source:
        code = compile(source.read(), script, "exec")
    for name in [name for name in globals() if not name.startswith("__")]:
        del globals()[name]
    globals()["__file__"] = script
    return code


for module in sys.argv[1:]:
    importlib.import_module(module)
exec(prepare(next_request()))
