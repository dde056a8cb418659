"""One training that dies of memory at a chosen place, and what it says itself of who holds the device then.

The truth is by enumeration, at the moment of the refusal, before anything unwinds: parameters, gradients and states
are asked of the modules and optimizers of the script, each storage once, with the size of the block that PyTorch's
allocator has given it. Where `saved` is asked for, what autograd has saved is counted too.
"""

import json
import os
import weakref

import torch

MIB = 1 << 20


def tensors_in(value):
    """The tensors of nested dicts, lists and tuples."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from tensors_in(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from tensors_in(item)


def addresses(tensors):
    """Of the storages of those on the device."""
    found = set()
    for tensor in tensors:
        tensor = getattr(tensor, "_local_tensor", tensor)
        if tensor.device.type == "cuda" and tensor.untyped_storage().nbytes():
            found.add(tensor.untyped_storage().data_ptr())
    return found


def block_sizes():
    """Address -> bytes of the allocator's blocks in use."""
    sizes = {}
    for segment in torch.cuda.memory_snapshot():
        for block in segment["blocks"]:
            if block["state"] == "active_allocated":
                sizes[block["address"]] = block["size"]
    return sizes


class Saved:
    """What an autograd node keeps, for as long as it keeps it."""

    living = weakref.WeakSet()

    def __init__(self, tensor):
        self.tensor = tensor.detach()
        Saved.living.add(self)


def count_saved():
    """Without a change to what lives: a saved output refers to itself in no other way than without us."""
    return torch.autograd.graph.saved_tensors_hooks(Saved, lambda saved: saved.tensor)


class Run:
    """death: (step, "forward" | "backward" | "step", share of what that phase takes, or bytes in the first step)."""

    def __init__(self, death=None):
        self.death = death
        self.modules, self.optimizers, self.leaves = [], [], []
        self.copies, self.inputs, self.caches, self.gradients, self.states = [], [], [], [], []
        self.buckets = 0  # bytes of gradients that a reducer keeps for itself
        self.phase = None
        self.at_refusal = None
        self.taken = {}  # phase -> bytes that it took beyond what lived at its begin

    def owns(self, *modules, optimizers=()):
        self.modules += modules
        self.optimizers += optimizers

    def enter(self, step, phase):
        """Measures the phases; at the chosen one, leaves as little memory as kills it."""
        if self.phase is not None:
            self.taken[self.phase] = torch.cuda.max_memory_allocated() - self.before
        self.phase, self.before = phase, torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        if self.death is None or (step, phase) != self.death[:2]:
            return
        amount = self.death[2]
        self.squeeze(amount if isinstance(amount, int) else int(amount * self.taken[phase]))

    def squeeze(self, spare):
        """Lets the allocator have `spare` bytes more than what lives, in so far as it has not got them already."""
        torch.cuda.empty_cache()
        limit = max(torch.cuda.memory_reserved(), torch.cuda.memory_allocated() + spare)
        torch.cuda.set_per_process_memory_fraction(limit / torch.cuda.mem_get_info()[1])

    def truth(self):
        sizes = block_sizes()
        parameters, gradients = list(self.leaves), list(self.gradients)
        for module in self.modules:
            parameters += [*module.parameters(), *module.buffers()]
        for optimizer in self.optimizers:
            parameters += [parameter for group in optimizer.param_groups for parameter in group["params"]]
        gradients += [parameter.grad for parameter in parameters if parameter.grad is not None]
        states = [*self.states, *tensors_in([dict(optimizer.state) for optimizer in self.optimizers])]
        copies = [*tensors_in(self.copies)]
        for copy in self.copies:
            if isinstance(copy, torch.nn.Module):
                copies += [*copy.parameters(), *copy.buffers()]
        kinds = {
            "parameter": addresses(parameters),
            "optimizer_state": addresses(states),
            "gradient": addresses(gradients),
            "second_copy": addresses(copies),
            "input": addresses(tensors_in(self.inputs)),
            "kv_cache": addresses(tensors_in([vars(layer) for layer in self.caches])),
            "saved": addresses(saved.tensor for saved in Saved.living),
        }
        taken = set()
        totals = {}
        for kind, found in kinds.items():
            totals[kind] = sum(sizes[address] for address in found - taken)
            taken |= found
        totals["gradient"] += self.buckets
        return totals | {"allocated": sum(sizes.values())}


def train(run, forward, optimizer, batch, steps=5, accumulate=1, set_to_none=True, backward=None, after=None):
    """An ordinary loop. batch() -> host tensors; forward(*batch) -> a scalar."""
    run.optimizers.append(optimizer)
    for step in range(steps):
        for _ in range(accumulate):
            run.enter(step, "forward")
            run.inputs = [tensor.cuda() for tensor in batch()]
            loss = forward(*run.inputs)
            run.enter(step, "backward")
            if backward is None:
                loss.backward()
            else:
                backward(loss)
        run.enter(step, "step")
        optimizer.step()
        if after is not None:
            after(step)
        run.enter(step, "between")
        optimizer.zero_grad(set_to_none=set_to_none)


def report(name, scenario):
    """Runs a scenario in this process and says the truth in one line; no `truth`: it did not die as it should have."""
    run = Run()
    line = {"name": name, "pid": os.getpid()}

    def refused(*_):
        run.at_refusal = run.truth()

    torch._C._cuda_attach_out_of_memory_observer(refused)
    try:
        scenario(run)
        line["died"] = None
    except torch.OutOfMemoryError:
        line["died"] = run.phase
    if line["died"] != (run.death and run.death[1]):
        line["error"] = f"meant to die at {run.death}, died in {line['died']}; phases took {run.taken}"
    line["truth"] = run.at_refusal or run.truth()
    print(json.dumps(line), flush=True)
