"""Who refers to an object: the collector's referrers, upwards, with the word that leads from each to what it refers to.

A label is what stands between the two in an expression: "[12]", ".history", "" for a step that has no name of its own.
"""
# ruff: noqa: F821 - the names come from native_module.cc and the other files of this namespace

LEVELS = 14  # tensor < tuple < list < __dict__ < object, and again
MOST_SOUGHT = 256  # objects whose referrers one pass looks for: it compares each reference with each of them
MOST_PARENTS = 4  # holders of one object that are remembered
FEW_INSTANCES = 2  # of a class: `Trainer.history` names one of them; with more the search goes on to what holds them

Function, ModuleType, Frame = type(text), type(sys), type(sys._getframe())
Deque = sys.modules["collections"].deque
SUSPENDED = ("generator", "coroutine", "async_generator")
# Dictionaries of an nn.Module that hold what reads as attributes.
MODULE_PARTS = ("_parameters", "_buffers", "_modules")


def subscript(key):
    if type(key) in (str, int, bool, float):
        return f"[{key!r}]"
    if type(key) is tuple and all(type(part) in (str, int) for part in key):
        return f"[{key!r}]"
    return "[...]"


def slots_of(holder):
    """(name, value) of the attributes that a class keeps in slots."""
    for kind in type(holder).__mro__:
        for name, member in list(kind.__dict__.items()):
            if type(member).__name__ == "member_descriptor" and type(name) is str:
                try:
                    yield name, member.__get__(holder)
                except AttributeError:  # not set
                    continue


def own_dictionary(holder):
    """An instance's __dict__, None where it has none; asks no property and no __getattr__ of the application."""
    try:
        attributes = object.__getattribute__(holder, "__dict__")
    except Exception:
        return None
    return attributes if is_instance(attributes, dict) else None


HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE: classes made by a class statement, and few others


def is_object(item):
    """An instance of a class with attributes."""
    kind = type(item)
    if not kind.__flags__ & HEAP_TYPE:
        return False
    if issubclass(kind, (dict, list, tuple, set, frozenset, type, BaseException)) or kind in (Function, ModuleType):
        return False
    return own_dictionary(item) is not None or any(True for _ in slots_of(item))


PLAIN = (dict, list, tuple, Deque)  # nothing but elements; a subclass may have attributes as well


def elements(item, wanted):
    """(id, label) of the wanted objects among a container's elements."""
    kind = type(item)
    if issubclass(kind, dict):
        pairs = dict.items(item)
        found = [(id(value), subscript(key)) for key, value in pairs if id(value) in wanted]
        return found or [(id(key), "") for key in dict.keys(item) if id(key) in wanted]
    if issubclass(kind, (list, tuple, Deque)):
        base = list if issubclass(kind, list) else tuple if issubclass(kind, tuple) else Deque
        return [(id(value), f"[{index}]") for index, value in enumerate(base.__iter__(item)) if id(value) in wanted]
    return []


TENSOR_HOOKS = ("_backward_hooks", "_post_accumulate_grad_hooks")  # C++ attributes, in no dictionary


def hooks_of(tensor):
    """(name, dictionary) of the hooks registered at a tensor itself."""
    for name in TENSOR_HOOKS:
        member = getattr(torch._C.TensorBase, name, None)
        hooks = member.__get__(tensor) if member is not None else None
        if hooks is not None:
            yield name, hooks


def links(item, wanted):
    """(id, label) of the wanted objects that an item refers to."""
    if type(item) is Frame:
        return [(id(value), name) for name, value in list(item.f_locals.items()) if id(value) in wanted]
    found = elements(item, wanted)
    if type(item) in PLAIN:
        return found
    if type(item).__flags__ & HEAP_TYPE:
        attributes = own_dictionary(item) or {}
        found += [(id(value), f".{name}") for name, value in attributes.items() if id(value) in wanted]
        found += [(id(value), f".{name}") for name, value in slots_of(item) if id(value) in wanted]
    if is_instance(item, torch.Tensor):
        found += [(id(hooks), f".{name}") for name, hooks in hooks_of(item) if id(hooks) in wanted]
    named = {identity for identity, _ in found}
    rest = [id(value) for value in gc.get_referents(item) if id(value) in wanted]
    return found + [(identity, "") for identity in rest if identity not in named]


def suspended_code(item):
    """Of a generator or a coroutine."""
    return next(getattr(item, name) for name in ("gi_code", "cr_code", "ag_code") if hasattr(item, name))


def is_suspended(item):
    return type(item).__name__ in SUSPENDED and not type(item).__flags__ & HEAP_TYPE


def family_of(item):
    """What the instances of are counted: the class of an object, the code of a function or coroutine; None: of none."""
    if type(item) is Function:
        return item.__code__
    if is_suspended(item):
        return suspended_code(item)
    return type(item) if is_object(item) and not is_instance(item, torch.Tensor) else None


def running_frames():
    """Identities, which stay as long as the frames run: a frame held here would hold our own variables in turn."""
    frames = set()
    for frame in sys._current_frames().values():
        while frame is not None:
            frames.add(id(frame))
            frame = frame.f_back
    return frames


def current_exceptions():
    """Identities of those being handled, or that ended the program: their frames read as if they still ran."""
    current = set()
    for error in (getattr(sys, "last_value", None), sys.exc_info()[1]):
        while is_instance(error, BaseException) and id(error) not in current:
            current.add(id(error))
            error = error.__context__
    return current


def frames_of_exceptions(objects):
    """id of a frame -> the exception whose traceback keeps it."""
    frames = {}
    for error in of_kind(objects, BaseException):
        trace = error.__traceback__
        while trace is not None:
            frames.setdefault(id(trace.tb_frame), error)
            trace = trace.tb_next
    return frames


class Referrers:
    """Who holds what, from some objects upwards.

    Holders stand in one list, and everything else is numbers and text: what refers to them would be found as a holder
    itself.
    """

    def __init__(self, targets, hidden, ends, exceptions, shortcuts, deadline):
        """`ends`: ids of objects with a name, whose holders are not asked for. `hidden`: ids of what is our own.

        `exceptions`: id of a frame -> the exception to ask for instead of the frame. `shortcuts`: id of a target ->
        (an object that holds it, label), where that is known.
        """
        self.holders, self.places, self.parents = [], {}, {}  # parents: id -> [(place in holders, label)]
        self.instances, self.complete = {}, False  # instances: family -> ids of those that hold something
        self.targets, self.reached = [id(target) for target in targets], None
        self.running = running_frames()
        self.hidden = hidden | {id(self.holders), id(exceptions)}
        self.ends, self.exceptions = ends, exceptions
        frontier = {}
        for item in targets:
            known_holder, label = shortcuts.get(id(item), (None, ""))
            if known_holder is not None:
                self.parents[id(item)] = [(self.place_of(known_holder), label)]
                self.instances.setdefault(family_of(known_holder), set()).add(id(known_holder))
                item = known_holder
            frontier[id(item)] = item
        for _ in range(LEVELS):
            if not frontier or deadline.passed():
                break
            frontier = dict(list(frontier.items())[:MOST_SOUGHT])
            frontier = self.ascend(frontier)
        self.complete = not frontier

    def holders_of(self, item):
        """[(holder, label)], the most telling first."""
        return [(self.holders[place], label) for place, label in self.parents.get(id(item), ())]

    def ascend(self, frontier):
        mark = object()  # tells the call's own tuple of arguments, which the collector reports too
        values = [*frontier.values(), mark]
        found, following = {}, {}
        hidden = self.hidden | {id(frontier), id(values), id(found), id(following)}
        for item in gc.get_referrers(*values):
            if id(item) in hidden or id(item) in self.running:
                continue
            if type(item) is tuple and item and item[-1] is mark:
                continue
            try:
                reached = links(item, frontier)
            except Exception:  # changed while we looked
                continue
            # What gathers most comes first: a sample drawn from it has a name as well, and keeps a few.
            rank = (type(item) is Frame, -len(reached), id(item) not in self.ends)
            for identity, label in reached:
                found.setdefault(identity, []).append((rank, item, label))
            if reached and not self.is_end(item):
                upwards = self.exceptions.get(id(item), item)
                following[id(upwards)] = upwards
        for identity, holders in found.items():
            holders.sort(key=lambda entry: entry[0])
            self.parents[identity] = [(self.place_of(item), label) for _, item, label in holders[:MOST_PARENTS]]
        return {
            identity: item
            for identity, item in following.items()
            if identity not in self.parents and not self.is_sole_instance(item)
        }

    def place_of(self, item):
        if id(item) not in self.places:
            self.places[id(item)] = len(self.holders)
            self.holders.append(item)
        return self.places[id(item)]

    def is_end(self, item):
        family = family_of(item)
        if family is not None:
            self.instances.setdefault(family, set()).add(id(item))
        return id(item) in self.ends or is_instance(item, type) or type(item) is ModuleType

    def is_sole_instance(self, item):
        """Names by itself what it keeps: of an object made for each step, its holder does."""
        return len(self.instances.get(family_of(item), ())) in range(1, FEW_INSTANCES + 1)

    def is_shared(self, function):
        """Keeps most of what all functions of its code keep, as hooks that fill one list do."""
        if self.reached is None:
            self.reached = self.reach_of_functions()
        own = self.reached.get(id(function), set())
        family = self.instances.get(family_of(function), ())
        return 2 * len(own) > len(set().union(*(self.reached.get(other, ()) for other in family)))

    def reach_of_functions(self):
        """id of a function or coroutine -> numbers of the targets that it keeps."""
        reached = {}
        for number, target in enumerate(self.targets):
            waiting, seen = [target], {target}
            while waiting:
                for position, _ in self.parents.get(waiting.pop(), ()):
                    holder = self.holders[position]
                    if id(holder) in seen:
                        continue
                    seen.add(id(holder))
                    waiting.append(id(self.exceptions.get(id(holder), holder)))
                    if type(holder) is Function or is_suspended(holder):
                        reached.setdefault(id(holder), set()).add(number)
        return reached
