"""Which Python names keep device memory alive. Read python_part.py first, then graphs.py, referrers.py and paths.py.

Looks at the largest tensors that no module or optimizer owns, at those of which there are many alike (a leak), and at
the tensors whose autograd graphs keep what has no Python object. Runs after an out-of-memory error, and before one
where memory grows (growth.py). Nothing of the application is called, changed or kept.
"""
# ruff: noqa: F821 - the names come from native_module.cc and the other files of this namespace

ALIKE_GROUPS, ALIKE_EACH, ALIKE = 8, 6, 4  # ALIKE: this many of one shape are worth a look
MOST_GRAPH_HOLDERS = 4096  # written of what graphs keep
THROUGH_TRACEBACK = ", through a traceback"


# What cannot refer to a tensor but through another object that the collector knows.
NO_HOLDERS = (Function, ModuleType, type(text.__code__), type(str.join), type(type.__dict__), type)


def held_by_python(objects, tensors, local_ids):
    """Tensors that a Python object or a local variable of this thread refers to.

    PyTorch keeps the Python object of a tensor that only its own code refers to: an activation that a graph saved, for
    instance. About 60 nanoseconds a reference.
    """
    passed_over = {kind for kind in set(map(type, objects)) if issubclass(kind, NO_HOLDERS)}
    holding = [item for item in objects if type(item) not in passed_over]
    held = {id(tensor) for tensor in tensors}.intersection(map(id, gc.get_referents(*holding)))
    return [tensor for tensor in tensors if id(tensor) in held or id(tensor) in local_ids]


def gradients_with_graphs():
    """Gradients that were made with create_graph=True: only PyTorch refers to them, and they keep a graph."""
    gradients = [tensor.grad for root in live_roots() for _, tensor, kind in tensors_of(root) if kind == PARAMETER]
    return [gradient for gradient in gradients if gradient is not None and gradient.requires_grad]


def unowned(tensors, owned):
    """(bytes, address, tensor), one for each storage that nothing is known to own."""
    found = {}
    for tensor in tensors:
        storage = cuda_storage(tensor)
        if storage is not None and storage[0] not in owned:
            found.setdefault(storage[0], (storage[1], storage[0], tensor))
    return list(found.values())


def candidates(found, largest):
    """Tensors to find the holders of, by storage address."""
    groups = {}
    for size, address, tensor in found:
        groups.setdefault((tuple(tensor.shape), tensor.dtype, size), []).append((size, address, tensor))
    alike = [group for group in groups.values() if len(group) >= ALIKE]
    alike.sort(key=lambda group: -len(group) * group[0][0])
    chosen = {}
    for group in alike[:ALIKE_GROUPS]:
        # From the first to the last: neighbours may belong to one object, and the question is what gathers these.
        spread = {number * (len(group) - 1) // (ALIKE_EACH - 1) for number in range(ALIKE_EACH)}
        chosen.update((group[place][1], group[place][2]) for place in spread)
    single = sorted((item for group in groups.values() if len(group) < ALIKE for item in group), key=lambda i: -i[0])
    chosen.update((address, tensor) for _, address, tensor in single[:largest])
    return chosen


def shortcuts_of(chosen):
    """id of a tensor -> (the outermost known module that it belongs to, its path there): spares half of the way."""
    wanted = set(map(id, chosen))
    found = {}
    for root in live_roots():
        for name, tensor, _ in tensors_of(root):
            if id(tensor) in wanted:
                found.setdefault(id(tensor), (root, attributes(name)))
            elif tensor.is_leaf and id(tensor.grad) in wanted:
                found.setdefault(id(tensor.grad), (root, attributes(name) + ".grad"))
    return found


def remark(tensor, size):
    """A small view keeps all of its storage."""
    own = tensor.numel() * tensor.element_size()
    return f"it uses {own} of the {size} bytes that it keeps" if 2 * own < size else ""


def also_kept(names, item, path):
    """Where a second name keeps the item as well: to let go of the first alone frees nothing."""
    other = names.of_another(item, path) if path.firm else None
    if other is None:
        return ""
    return f"also kept by {other.expression}" + (THROUGH_TRACEBACK if "the traceback of " in other.where else "")


def firmly_held(shapes, paths):
    """Shapes of which names that stay are known: what else is said of tensors alike is left out.

    A bare name is a variable of the step in work; what leaks hangs from something larger. Of objects in reference
    cycles the newest has a variable, too, and most of them nothing but each other.
    """
    found = {}
    for address, path in paths.items():
        if path is not None and not path.expression.isidentifier():
            found.setdefault(shapes[address], []).append(path.firm)
    return {shape for shape, firm in found.items() if any(firm) and 2 * sum(firm) >= len(firm)}


class GraphPaths:
    """What is written of tensors that graphs keep; asked once for each root."""

    def __init__(self, names, graphs):
        self.names, self.graphs, self.texts = names, graphs, {}

    def written(self, root):
        if id(root) not in self.texts:
            path = self.names.of_graph(root)
            self.texts[id(root)] = path.written(words(also_kept(self.names, root, path), self.containing(root, path)))
        return self.texts[id(root)]

    def containing(self, root, path):
        """Another graph that runs into this one, and stays: it keeps what this one keeps."""
        for number in self.graphs.containing.get(id(root), ()):
            other = self.names.of(self.graphs.roots[number])
            if other is not None and other.firm and beginning(other.expression) != beginning(path.expression):
                return f"also kept by graph of {other.expression}"
        return ""


class Deadline:
    """Seconds on the clock, and of this thread's own work: on a busy machine a search gets the time it needs."""

    def __init__(self, seconds, working):
        self.end, self.end_of_work = time.monotonic() + seconds, time.thread_time() + working

    def passed(self):
        return time.monotonic() > self.end or time.thread_time() > self.end_of_work


@quiet
def write_holders(objects, owned, largest, seconds, working):
    """True where the search came to its end in time."""
    with torch._C.DisableTorchFunctionSubclass():
        return find_and_write(objects, owned, largest, seconds, working)


def find_and_write(objects, owned, largest, seconds, working):
    deadline = Deadline(seconds, working)
    locals_by_id, locals_of_libraries = local_variables()
    all_tensors = of_kind(objects, torch.Tensor)
    tensors = held_by_python(objects, all_tensors, locals_by_id.keys() | locals_of_libraries.keys())
    held = set(map(id, tensors))
    found = unowned(tensors, owned)
    chosen = candidates(found, largest)
    sizes = {address: size for size, address, _ in found}
    with_graphs = gradients_with_graphs()
    graphs = Graphs(tensors + with_graphs, Deadline(seconds / 3, working / 3))
    graphs.claim([tensor for tensor in all_tensors if id(tensor) not in held])
    roots = {id(root): root for root in graphs.kept.values()}
    names = Names(objects, locals_by_id, locals_of_libraries, global_names())
    sought = list({id(item): item for item in [*chosen.values(), *roots.values()]}.values())
    ours = [
        objects,
        owned,
        all_tensors,
        tensors,
        with_graphs,
        found,
        chosen,
        sizes,
        roots,
        sought,
        graphs.kept,
        graphs.nodes,
        graphs.alive,
        graphs.roots,
        graphs.containing,
    ]
    hidden = {id(item) for item in ours} | {id(item) for item in found}
    shortcuts = shortcuts_of(sought)
    hidden |= {id(shortcuts)} | {id(item) for item in shortcuts.values()}
    names.graphs = graphs
    names.search = Referrers(sought, hidden, names.ends(), names.exceptions, shortcuts, deadline)
    paths = {address: names.of(tensor) for address, tensor in chosen.items()}
    firm = firmly_held({address: tuple(tensor.shape) for address, tensor in chosen.items()}, paths)
    named = {}
    for address, path in paths.items():
        tensor = chosen[address]
        if path is not None and (path.firm or tuple(tensor.shape) not in firm):
            named[address] = path.written(words(remark(tensor, sizes[address]), also_kept(names, tensor, path)))
    graph_paths = GraphPaths(names, graphs)
    for address, root in list(graphs.kept.items())[:MOST_GRAPH_HOLDERS]:
        if address not in owned and address not in named:
            named[address] = graph_paths.written(root)
    for address, path in named.items():
        holder(address, text(path))
    return names.search.complete
