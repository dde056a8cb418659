"""Names for what holds a tensor: `Trainer.history[12]`, `losses[3] (local of train(), train.py:88)`, `cache['x']`.

The expression comes first, where it stands follows in parentheses.
"""
# ruff: noqa: F821 - the names come from native_module.cc and the other files of this namespace

LIBRARIES = ("/site-packages/", "/dist-packages/", "/lib/python3.")


def place(code, line=None):
    file = code.co_filename.rsplit("/", 1)[-1]
    return f"{getattr(code, 'co_qualname', code.co_name)}(), {file}:{line or code.co_firstlineno}"


def words(*parts):
    return "; ".join(part for part in parts if part)


def variable_names(code):
    """In the order of the frame's slots."""
    cells = code.co_cellvars
    if sys.version_info >= (3, 11):  # arguments that are cells share the slot of the argument
        cells = tuple(name for name in cells if name not in code.co_varnames)
    return code.co_varnames + cells + code.co_freevars


def is_library(code):
    """Of an installed package or the standard library: its variables come and go, the program's own names stay."""
    file = code.co_filename
    return file.startswith(("<frozen ", "<oomtrace>")) or any(part in file for part in LIBRARIES)


def local_variables():
    """id of an object -> (name, where), for the running frames of this thread: the program's own, and libraries'.

    Only the slots are read: frame.f_locals would make a second reference to every local variable and keep it there.
    """
    names, of_libraries = {}, {}
    frame = sys._getframe()
    for values in frame_slots() or []:
        code = frame.f_code
        if code.co_filename != "<oomtrace>" and code.co_name != "<module>":
            where = f"local of {place(code, frame.f_lineno)}"
            found = of_libraries if is_library(code) else names
            for name, value in zip(variable_names(code), values):  # noqa: B905 - strict= came with 3.10
                found.setdefault(value, (name, where))
        frame = frame.f_back
        if frame is None:
            break
    return names, of_libraries


def running_namespaces():
    """Of the code that runs or just failed: cells, and what exec() was given, have names that belong to no module.

    No list of frames: one that holds our own would keep all of our variables until the collector comes.
    """
    namespaces = []
    frame = sys._getframe()
    while frame is not None:
        if not is_library(frame.f_code):
            namespaces.append(frame.f_globals)
        frame = frame.f_back
    for error in (sys.exc_info()[1], getattr(sys, "last_value", None)):
        trace = getattr(error, "__traceback__", None)
        while trace is not None:
            if not is_library(trace.tb_frame.f_code):
                namespaces.append(trace.tb_frame.f_globals)
            trace = trace.tb_next
    return namespaces


def global_names():
    """id of a module's namespace -> what stands before its names."""
    names = {}
    for name, item in list(sys.modules.items()):
        if type(item) is ModuleType and not name.startswith("torch"):
            names.setdefault(id(item.__dict__), "" if name == "__main__" else f"{name}.")
    for namespace in running_namespaces():
        names.setdefault(id(namespace), "")
    return names


def variables_of(namespaces):
    """id of an object -> the program's global variable that holds it, and nothing between."""
    found = {}
    for namespace in namespaces:
        for name, value in list(namespace.items()):
            if type(name) is str and not name.startswith("__"):
                found.setdefault(id(value), name)
    return found


def class_namespaces(objects):
    """id of a class's namespace -> the class."""
    names = {}
    for kind in of_kind(objects, type):
        for item in gc.get_referents(kind):
            if type(item) is dict:
                names[id(item)] = kind
                break
    return names


def argument_name(function, index):
    """Of the argument whose default stands at this index of __defaults__."""
    code = function.__code__
    return code.co_varnames[code.co_argcount - len(function.__defaults__) + index]


class Path:
    """An expression and, in words, where its first name stands. Not firm: of an object that nothing named refers to."""

    def __init__(self, expression, where="", firm=True):
        self.expression, self.where, self.firm = expression, where, firm

    def written(self, remark=""):
        where = words(self.where, remark)
        return f"{self.expression} ({where})" if where else self.expression


def beginning(expression):
    """What names of one container share: `T.history` of `T.history[3]`, `losses` of `graph of losses[3]`."""
    expression = expression[len("graph of ") :] if expression.startswith("graph of ") else expression
    first = min((at for at in map(expression.find, "[.") if at > 0), default=len(expression))
    if expression[first : first + 1] != ".":
        return expression[:first]
    return expression[: min((at for at in (expression.find(c, first + 1) for c in "[.") if at > 0), default=None)]


def attributes(name):
    """`0.weight` of a module, as an expression: `[0].weight`."""
    return "".join(f"[{part}]" if part.isdigit() else f".{part}" for part in name.split("."))


def parameter_owners():
    """id of a parameter -> (a weak reference to the outermost known module that has it, its name there)."""
    owners = {}
    for root in live_roots():
        for name, parameter in root.named_parameters():
            owners.setdefault(id(parameter), (known.roots[id(root)][0], name))
    return owners


def joined(labels):
    """Steps inside an nn.Module read as attributes: `_modules['fc']` is `.fc`."""
    written = []
    for label in labels:
        if written and written[-1] in [f".{part}" for part in MODULE_PARTS] and label.startswith("['"):
            written[-1] = f"[{label[2:-2]}]" if label[2:-2].isdigit() else "." + label[2:-2]
        else:
            written.append(label)
    return "".join(written)


class Names:
    def __init__(self, objects, locals_by_id, locals_of_libraries, globals_by_id):
        self.locals, self.locals_of_libraries, self.globals = locals_by_id, locals_of_libraries, globals_by_id
        self.classes, self.exceptions = class_namespaces(objects), frames_of_exceptions(objects)
        self.search, self.graphs, self.current = None, None, current_exceptions()
        self.variables = variables_of([*running_namespaces(), vars(sys.modules["__main__"])])
        self.owners = parameter_owners()
        self.through_holder = {}  # id of an object -> id of the one of its holders that its name leads over
        self.refused = ("", None)  # beginning of a name, and (object, holder), that the next name may not lead over

    def ends(self):
        return self.locals.keys() | self.globals.keys() | self.classes.keys()

    def of(self, item):
        """None where no name was found."""
        self.fallback, self.cycle = None, False
        path = self.climb(item, [], set())
        if path is None and (id(item) in self.locals or id(item) in self.locals_of_libraries):
            path = self.local(item, [])
        if path is None and self.search.complete:
            path = self.fallback
            if path is not None and self.cycle:
                path.where = "in a reference cycle that the garbage collector has not freed yet"
        return path

    def of_another(self, item, path):
        """A second name, which keeps the item when the first lets go; None where there is none that stays."""
        self.refused = (beginning(path.expression), (id(item), self.through_holder.get(id(item))))
        other = self.of(item)
        self.refused = ("", None)
        stays = other is not None and other.firm and not other.expression.isidentifier()
        return other if stays and beginning(other.expression) != beginning(path.expression) else None

    def local(self, item, labels):
        name, where = self.locals.get(id(item)) or self.locals_of_libraries[id(item)]
        return Path(name + joined(labels), where)

    def climb(self, item, labels, seen):
        """A path to the item that leads over one of its holders; labels lead from the item down to the tensor."""
        if id(item) in seen:
            self.cycle = True
            return None
        seen.add(id(item))
        if id(item) in self.graphs.nodes and labels:
            return self.of_graph(self.graphs.nodes[id(item)], seen)
        holders = self.search.holders_of(item)
        # A container that a waiting generator works on as a local variable is known better by any other name.
        holders.sort(key=lambda entry: is_suspended(entry[0]) and type(item) in PLAIN)
        for holder, label in holders:
            if (id(item), id(holder)) == self.refused[1]:
                continue
            path = self.through(holder, [label, *labels] if label else labels, item, seen)
            if path is not None and beginning(path.expression) != self.refused[0]:
                self.through_holder[id(item)] = id(holder)
                limit = is_instance(holder, Deque) and holder.maxlen is not None
                path.where = words(path.where, f"maxlen={holder.maxlen}") if limit else path.where
                return path
        return None

    def through(self, holder, labels, item, seen):
        if id(holder) in self.globals:
            return Path(self.globals[id(holder)] + labels[0][2:-2] + joined(labels[1:]))
        if id(holder) in self.classes:
            kind = self.classes[id(holder)]
            return Path(f"{kind.__name__}.{labels[0][2:-2]}{joined(labels[1:])}", f"class attribute of {kind.__name__}")
        if type(holder) is Function:
            return self.one_of_many(holder, self.of_function(holder, labels, item), item, labels, seen)
        if type(holder) is Frame:
            return self.of_frame(holder, labels, seen)
        if is_suspended(holder):
            return self.one_of_many(holder, self.of_suspended(holder), item, [], seen)
        if type(holder).__name__ == "_lru_cache_wrapper":
            function = getattr(holder, "__wrapped__", None)
            code = getattr(function, "__code__", None)
            limit = holder.cache_parameters()["maxsize"]
            where = "functools.lru_cache" if limit is None else f"functools.lru_cache, maxsize={limit}"
            return Path("cache of " + (place(code) if code else "a function"), where)
        if is_object(holder):
            return self.of_object(holder, labels, item, seen)
        labels = self.attribute(holder, labels, item)
        if id(holder) in self.locals:
            return self.local(holder, labels)
        return self.climb(holder, labels, seen)

    def one_of_many(self, holder, path, item, labels, seen):
        """Where each step makes a function or coroutine of its own, who keeps these is the question."""
        if self.search.is_sole_instance(holder) or self.search.is_shared(holder):
            return path
        labels = self.in_function(holder, item, labels) if type(holder) is Function else labels
        kept = self.climb(holder, labels, seen)
        if kept is None:
            return path
        kept.where = words(kept.where, f"through {path.expression}" + (f", {path.where}" if path.where else ""))
        return kept

    def in_function(self, function, item, labels):
        """A closure's variable and a default argument read as attributes of the function."""
        index = labels[0][1:-1] if labels and labels[0].startswith("[") else ""
        if item is function.__closure__ and index.isdigit():
            return ["." + function.__code__.co_freevars[int(index)], *labels[1:]]
        if item is function.__defaults__ and index.isdigit():
            return ["." + argument_name(function, int(index)), *labels[1:]]
        return labels

    def of_function(self, function, labels, item):
        where = place(function.__code__)
        index = labels[0][1:-1] if labels and labels[0].startswith("[") else ""
        if item is function.__closure__ and index.isdigit():
            name = function.__code__.co_freevars[int(index)]
            return Path(name + joined(labels[1:]), f"closure of {where}")
        if item is function.__defaults__ and index.isdigit():
            return Path(argument_name(function, int(index)) + joined(labels[1:]), f"default argument of {where}")
        if item is function.__globals__:
            return Path(labels[0][2:-2] + joined(labels[1:]), f"global of {where}")
        if item is function.__kwdefaults__:
            return Path(labels[0][2:-2] + joined(labels[1:]), f"default argument of {where}")
        if labels and labels[0].startswith("['"):
            return Path(f"{function.__name__}.{labels[0][2:-2]}{joined(labels[1:])}", f"attribute of {where}")
        return Path(function.__name__, where)

    def of_frame(self, frame, labels, seen):
        """Of a frame that has ended: an exception's traceback keeps it, or whoever keeps the frame."""
        if frame.f_code.co_name == "<module>" or frame.f_code.co_filename == "<oomtrace>":
            return None
        variable = joined(labels)
        path = Path(variable, f"local of {place(frame.f_code, frame.f_lineno)}")
        error = self.exceptions.get(id(frame))
        if error is None or id(error) in self.current:
            if not is_library(frame.f_code):
                return path
            self.fallback = self.fallback or Path(path.expression, path.where, firm=False)
            return None
        kept = self.climb(error, [], seen)
        if kept is None:
            path.where += f"; the traceback of a kept {type(error).__name__} holds its frame"
            return path
        keeps = f"the traceback of this {type(error).__name__} keeps {variable}, {path.where}"
        return Path(kept.expression, words(kept.where, keeps))

    def of_suspended(self, item):
        code = suspended_code(item)
        kind = type(item).__name__.replace("_", " ")
        return Path(f"a local of {code.co_name}()", f"suspended {kind}, {place(code)}")

    def of_parameter(self, item, labels, seen):
        """What hangs from a parameter itself is named by its module, and not by the optimizer that lists it as well."""
        reference, name = self.owners[id(item)]
        root = reference()
        labels = [attributes(name), *labels]
        variable = self.variables.get(id(root))
        whole = Path(type(root).__name__ + joined(labels), f"{variable}, global" if variable else "")
        return whole if whole.where else self.of_object(root, labels, None, seen) or whole

    def of_object(self, item, labels, child, seen):
        labels = self.attribute(item, labels, child)
        if id(item) in self.owners:
            return self.of_parameter(item, labels, seen)
        path = Path(type(item).__name__ + joined(labels))
        if id(item) in self.locals:
            path.where = ", ".join(self.locals[id(item)])
            return path
        if self.search.is_sole_instance(item) and not is_instance(item, torch.Tensor):
            variable = self.variables.get(id(item))
            path.where = f"{variable}, global" if variable else ""
            return path
        self.fallback = self.fallback or Path(path.expression, firm=False)
        return self.climb(item, labels, seen)

    def attribute(self, item, labels, child):
        """The key of an object's own dictionary is the attribute's name."""
        if labels and labels[0].startswith("['") and child is own_dictionary(item):
            return ["." + labels[0][2:-2], *labels[1:]]
        return labels

    def of_graph(self, root, seen=None):
        """The graph that hangs from a tensor."""
        if seen is None:
            path = self.of(root)
        elif id(root) in seen:
            return None
        else:
            path = self.climb(root, [], seen) or (self.local(root, []) if id(root) in self.locals else None)
        if path is None:
            path = Path(f"a tensor of {type(root.grad_fn).__name__}")
        if not path.expression.startswith("graph of "):
            shape = "a scalar" if root.dim() == 0 else f"a tensor of shape {tuple(root.shape)}"
            path = Path(f"graph of {path.expression}", words(shape, path.where))
        return path
