"""What autograd's graphs keep alive: tensors that a forward saved for a backward, which no Python object refers to.

Walks from tensors to the nodes that made them. Reads what a node saved as it lies there (SavedTensor.data): nothing is
unpacked, so no hook of the application runs (checkpointing would compute a forward anew) and no device memory is
taken. PyTorch before 2.11 or so does not show it: there, what has a Python object is found by the node that made it.
"""
# ruff: noqa: F821 - the names come from native_module.cc and the other files of this namespace

GRAPH_NODES = 40000  # visited in all: about 4 microseconds each
ROOTS_ALIKE = 32  # of tensors of one shape made by one operator, the oldest and the newest

SUMMANDS = 8  # a loss of one step may have a few
NODES_FOR_ITSELF, AGAIN = 256, 3  # nodes looked at, nodes of the tensor's own kind among them


def saved_fields(kind, memo):
    """Names of the raw saved variables of a class of nodes."""
    names = memo.get(kind)
    if names is None:
        names = memo[kind] = [name for name in dir(kind) if name.startswith("_raw_saved_")]
    return names


def saved_by(node, memo):
    """What a node keeps: tensors, and what hooks of the application packed them into."""
    found = []
    for name in saved_fields(type(node), memo):
        try:
            value = getattr(node, name)
            for saved in value if type(value) in (tuple, list) else (value,):
                found.append(getattr(saved, "data", None))
        except Exception:  # a backward has freed it
            continue
    return [data for data in found if data is not None]


def leaf_of(node):
    """The tensor at the end of a graph, and its gradient: data of which gradients were asked has no other owner."""
    try:
        leaf = node.variable
        return [leaf] if leaf.grad is None else [leaf, leaf.grad]
    except Exception:
        return []


def contains_itself(node):
    """Whether the tensor is made of earlier values of its own: a running total, a state carried from step to step."""
    waiting, seen, again = [node], [], 0
    known_ids = {id(node)}
    for each in waiting:
        if len(seen) == NODES_FOR_ITSELF:
            break
        seen.append(each)
        again += type(each) is type(node)
        for following, _ in each.next_functions:
            if following is not None and id(following) not in known_ids:
                known_ids.add(id(following))
                waiting.append(following)
    return again > AGAIN


def accumulates(node):
    """Whether the tensor is a sum that each step adds to: total = total + loss, mean = 0.9 * mean + 0.1 * loss."""
    kind = type(node)
    for _ in range(SUMMANDS):
        near = [following for following, _ in node.next_functions if following is not None]
        far = [following for other in near for following, _ in other.next_functions if following is not None]
        node = next((each for each in near + far if type(each) is kind), None)
        if node is None:
            return False
    return True


def graph_roots(tensors):
    """(tensor, node, its number) of tensors with a graph, a few of each kind.

    In the order in which they claim what graphs keep.

    Where one graph contains another, the inner one is older: what hangs from it is said to hang from it. What is made
    of its own past comes first: a loss computed from it keeps the same tensors, but only until the next loss.
    """
    groups = {}
    for tensor in tensors:
        try:
            if not tensor.requires_grad or tensor.is_leaf:
                continue
            node = tensor.grad_fn
            number = node._sequence_nr()
        except Exception:
            continue
        groups.setdefault((tuple(tensor.shape), type(node).__name__), []).append((number, tensor, node))
    chosen = []
    for group in groups.values():
        group.sort(key=lambda item: item[0])
        later = not contains_itself(group[-1][2])
        few = group if len(group) <= ROOTS_ALIKE else group[: ROOTS_ALIKE // 2] + group[-ROOTS_ALIKE // 2 :]
        chosen += [(later, number, tensor, node) for number, tensor, node in few]
    chosen.sort(key=lambda item: item[:2])
    return [(tensor, node, number) for _, number, tensor, node in chosen]


class Graphs:
    """kept: storage address -> the tensor whose graph keeps it; nodes: id of a node, or of what it packed -> it.

    containing: id of a tensor -> places in `roots` of lasting ones whose graphs run into its own.
    """

    def __init__(self, tensors, deadline):
        self.kept, self.nodes, self.alive = {}, {}, []  # alive: a node's object is new each time none is left
        self.roots, self.containing, self.lasting = [], {}, False
        memo = {}
        roots = graph_roots(tensors)
        newest = max((number for _, _, number in roots), default=0)
        for place, (tensor, node, number) in enumerate(roots):
            if deadline.passed():
                break
            self.roots.append(tensor)
            # What the step in work made goes with it.
            self.lasting = 2 * number < newest or accumulates(node)
            share = (GRAPH_NODES - len(self.alive)) // (len(roots) - place)
            self.walk(tensor, node, share, memo)

    def walk(self, root, node, most, memo):
        waiting, visited = [node], 0
        while waiting and visited < most:
            node = waiting.pop()
            if node is None:
                continue
            inner = self.nodes.get(id(node))
            if inner is not None:
                # All graphs end in the same parameters.
                if self.lasting and inner is not root and type(node).__name__ != "AccumulateGrad":
                    self.containing.setdefault(id(inner), {})[len(self.roots) - 1] = True
                continue
            visited += 1
            self.nodes[id(node)] = root
            self.alive.append(node)
            for data in leaf_of(node) if type(node).__name__ == "AccumulateGrad" else saved_by(node, memo):
                self.keep(data, root)
            waiting.extend(following for following, _ in node.next_functions)

    def keep(self, data, root):
        storage = cuda_storage(data) if is_instance(data, torch.Tensor) else None
        if storage is not None:
            self.kept.setdefault(storage[0], root)
        elif not is_instance(data, torch.Tensor):
            self.nodes.setdefault(id(data), root)
            self.alive.append(data)

    def claim(self, tensors):
        """Tensors that no Python object refers to, but whose node belongs to a graph that was walked."""
        for tensor in tensors:
            try:
                root = self.nodes.get(id(tensor.grad_fn)) if tensor.requires_grad and not tensor.is_leaf else None
            except Exception:
                continue
            storage = cuda_storage(tensor) if root is not None else None
            if storage is not None:
                self.kept.setdefault(storage[0], root)
