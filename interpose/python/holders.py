"""Which Python names keep device memory alive. The second half of the Python part: read python_part.py first.

Runs after an out-of-memory error only. Looks at the largest tensors that no module or optimizer owns, and at those of
which there are many alike (a leak), and follows the collector's referrers up to a name: a global, a local variable, an
attribute of an object. One pass over the heap for each level serves all tensors together, within SEARCH_SECONDS.
"""
# ruff: noqa: F821 - the names come from native_module.cc and python_part.py, which share this namespace

LARGEST, ALIKE_GROUPS, ALIKE_EACH, ALIKE = 32, 16, 8, 4  # ALIKE: this many of one shape are worth a look
LEVELS = 5  # tensor < tuple < list < __dict__ < object
SEARCH_SECONDS = 2.0


def candidates(objects, owned):
    """Tensors to find the holders of, by storage address."""
    unowned, groups = [], {}
    for tensor in objects:
        if not is_instance(tensor, torch.Tensor):
            continue
        storage = cuda_storage(tensor)
        if storage is None or storage[0] in owned:
            continue
        unowned.append((storage[1], storage[0], tensor))
        groups.setdefault((tuple(tensor.shape), tensor.dtype), []).append((storage[0], tensor))
    unowned.sort(key=lambda item: -item[0])
    chosen = {address: tensor for _, address, tensor in unowned[:LARGEST]}
    alike = sorted((group for group in groups.values() if len(group) >= ALIKE), key=len, reverse=True)
    for group in alike[:ALIKE_GROUPS]:
        half = ALIKE_EACH // 2
        chosen.update(group[:half] + group[-half:])
    return chosen


def variable_names(code):
    """In the order of the frame's slots."""
    cells = code.co_cellvars
    if sys.version_info >= (3, 11):  # arguments that are cells share the slot of the argument
        cells = tuple(name for name in cells if name not in code.co_varnames)
    return code.co_varnames + cells + code.co_freevars


def local_variables(objects):
    """id of an object -> (name, where), for the frames of this thread and those that tracebacks keep.

    Of running frames only the slots are read: frame.f_locals would make a second reference to every local variable and
    keep it there.
    """
    names = {}

    def add(frame, name, value):
        code = frame.f_code
        where = f" (local of {code.co_name}(), {code.co_filename.rsplit('/', 1)[-1]}:{frame.f_lineno})"
        names.setdefault(value, (name, where))

    running = set()
    frame, slots = sys._getframe(), frame_slots() or []
    for values in slots:
        running.add(id(frame))
        if frame.f_code.co_filename != "<oomtrace>" and frame.f_code.co_name != "<module>":
            for name, value in zip(variable_names(frame.f_code), values):  # noqa: B905 - strict= came with 3.10
                add(frame, name, value)
        frame = frame.f_back
        if frame is None:
            break
    frame_type = type(sys._getframe())
    for item in objects:
        if type(item) is not frame_type or id(item) in running or item.f_code.co_name == "<module>":
            continue
        if item.f_code.co_filename == "<oomtrace>" or is_running(item):
            continue
        for name, value in list(item.f_locals.items()):
            add(item, name, id(value))
    return names


def is_running(frame):
    """Whether a thread is in it; frames of other threads are left alone."""
    for current in sys._current_frames().values():
        while current is not None:
            if current is frame:
                return True
            current = current.f_back
    return False


def global_names():
    """id of a module's namespace -> what stands before its names."""
    names = {}
    for name, item in list(sys.modules.items()):
        if type(item) is type(sys) and not name.startswith("torch"):
            names.setdefault(id(item.__dict__), "" if name == "__main__" else f"{name}.")
    return names


def members(holder, wanted):
    """(id, label) of the wanted objects that the holder refers to."""
    kind = type(holder)
    if is_instance(holder, dict):
        found = [(id(value), f"[{key!r}]" if type(key) in (str, int) else "[…]") for key, value in holder.items()]
    elif is_instance(holder, (list, tuple)) or kind.__name__ == "deque":
        found = [(id(value), f"[{index}]") for index, value in enumerate(holder)]
    elif kind.__name__ == "cell" or is_instance(holder, (set, frozenset)):
        found = [(id(value), "") for value in gc.get_referents(holder)]
    elif hasattr(kind, "__mro__") and not is_instance(holder, (type, type(sys), torch.Tensor)):
        attributes = getattr(holder, "__dict__", None)
        found = [(id(value), f".{key}") for key, value in attributes.items()] if type(attributes) is dict else []
        found += [(id(attributes), "")]
    else:
        found = []
    return [(identity, label) for identity, label in found if identity in wanted]


def is_object(holder):
    """An object of a class with attributes, which ends the search: `Trainer.history` says enough."""
    return type(getattr(holder, "__dict__", None)) is dict and not is_instance(
        holder, (dict, list, tuple, set, torch.Tensor)
    )


def find_parents(tensors, ours, ends):
    """id of an object -> its holder, and -> the label in it, upwards from the tensors to objects that have a name."""
    deadline = time.monotonic() + SEARCH_SECONDS
    parents, labels, frontier = {}, {}, {id(tensor): tensor for tensor in tensors}
    for _ in range(LEVELS):
        frontier = {identity: item for identity, item in frontier.items() if identity not in ends}
        if not frontier or time.monotonic() > deadline:
            break
        mark = object()  # tells the call's own tuple of arguments, which the collector reports too
        values = [*frontier.values(), mark]
        hidden = ours | {id(frontier), id(values), id(parents)}
        following = {}
        hidden.add(id(following))
        for holder in gc.get_referrers(*values):
            if id(holder) in hidden or type(holder).__name__ == "frame":
                continue
            if type(holder) is tuple and holder and holder[-1] is mark:
                continue
            for identity, label in members(holder, frontier):
                if identity not in parents:
                    parents[identity], labels[identity] = holder, label
                if not is_object(holder):
                    following[id(holder)] = holder
        frontier = {identity: item for identity, item in following.items() if identity not in parents}
    return parents, labels


def path_of(item, parents, labels_by_id, locals_by_id, globals_by_id):
    """`losses[12] (local of train(), train.py:88)`, `Trainer.history[12]`, `cache['x']`; "" where no name was found."""
    labels, seen = [], set()
    while id(item) not in seen:
        seen.add(id(item))
        if id(item) in locals_by_id:
            name, where = locals_by_id[id(item)]
            return name + "".join(reversed(labels)) + where
        if id(item) not in parents:
            return ""
        holder, label = parents[id(item)], labels_by_id[id(item)]
        if id(holder) in globals_by_id:
            return globals_by_id[id(holder)] + label[2:-2] + "".join(reversed(labels))
        if is_object(holder):
            # An object's own dictionary: the key before was the attribute's name.
            if label == "" and labels and labels[-1].startswith("['"):
                labels[-1] = "." + labels[-1][2:-2]
            return type(holder).__name__ + label + "".join(reversed(labels))
        labels.append(label)
        item = holder
    return ""


@quiet
def write_holders(objects, owned):
    chosen = candidates(objects, owned)
    if not chosen:
        return
    locals_by_id, globals_by_id = local_variables(objects), global_names()
    tensors = list(chosen.values())
    ours = {id(item) for item in (objects, owned, chosen, tensors, locals_by_id, globals_by_id)}
    parents, labels = find_parents(tensors, ours, locals_by_id)
    for address, tensor in chosen.items():
        path = path_of(tensor, parents, labels, locals_by_id, globals_by_id)
        if path:
            holder(address, text(path))
