"""What only Python knows of a training: names, owners, phases. Runs inside the application's interpreter.

liboomtrace.so executes this source with a fresh namespace that holds its own functions (native_module.cc) and then
calls run_task. The rules of a guest: nothing is printed, nothing is raised into the application, no object of the
application is changed or kept alive, nothing is allocated on the device, no random state is touched, and nothing is
imported that PyTorch has not imported already.
"""
# ruff: noqa: F821 - the undefined names are the recorder's functions, put into this namespace by native_module.cc

import sys

TASK_INSTALL, TASK_BEGIN, TASK_OUT_OF_MEMORY, TASK_PREPARE = 1, 2, 4, 8
OPTIMIZER_STEP_BEGIN, OPTIMIZER_STEP_END, TRAIN_MODE, EVAL_MODE = 3, 4, 5, 6
PARAMETER, BUFFER, GRADIENT, OPTIMIZER_STATE = 1, 2, 3, 4

torch = sys.modules["torch"]
functools = sys.modules["functools"]
gc = sys.modules.get("gc") or __import__("gc")
threading = sys.modules["threading"]
time = sys.modules.get("time") or __import__("time")
weakref = sys.modules.get("weakref") or __import__("weakref")


def cuda_storage(tensor):
    """(address, bytes, device index) of a tensor's storage on a CUDA device, else None."""
    try:
        tensor = getattr(tensor, "_local_tensor", tensor)  # a DTensor's own shard
        if tensor.device.type != "cuda":
            return None
        storage = tensor.untyped_storage()
        if storage.device.type != "cuda":  # of a tensor that only says so: PyTorch warns of a look at its address
            return None
        address, size = storage.data_ptr(), storage.nbytes()
        return (address, size, tensor.device.index or 0) if address and size else None
    except Exception:  # fake, meta and other tensors without memory
        return None


class Known:
    """What has been written to the trace of this process, so that it is written once. A forked child has its own."""

    def __init__(self, recorder=0):
        self.recorder = recorder
        self.shown = {}  # id -> weak reference: roots whose paths are written, before anybody owns their tensors
        self.roots = {}  # id -> (weak reference, tensors on a device when the tree was written)
        self.optimizers = {}  # id -> [weak reference, steps, {state address: name}, its parameters are written]
        self.threads = {threading.main_thread().native_id}  # whose names are written, or of no interest
        self.scanned = False  # the collector's objects have been searched for modules


known = Known()


def is_recording():
    recorder = recording()
    if recorder and recorder != known.recorder:
        known.__init__(recorder)
        growth.__init__()
    if recorder and threading.get_native_id() not in known.threads:
        name_thread()
    return bool(recorder)


def name_thread():
    number = threading.get_native_id()
    known.threads.add(number)
    thread = threading._active.get(threading.get_ident())  # current_thread() would make one where there is none
    if thread is not None:
        thread_name(number, text(thread.name))


# ---- modules ----------------------------------------------------------------------------------------------------


def tensors_of(root):
    """(name, tensor, role) of every parameter and buffer below the root, each once."""
    for name, parameter in root.named_parameters():
        yield name, parameter, PARAMETER
    for name, buffer in root.named_buffers():
        yield name, buffer, BUFFER


def write_paths(root):
    for path, child in root.named_modules():
        module(id(child), id(root), text(path), text(type(child).__name__))


def write_tree(root):
    """Writes the tree and its tensors, unless nothing has changed since the last time."""
    placed = []
    for name, tensor, kind in tensors_of(root):
        storage = cuda_storage(tensor)
        if storage is not None:
            placed.append((name, storage, kind))
    addresses = hash(tuple(storage[0] for _, storage, _ in placed))
    entry = known.roots.get(id(root))
    if entry is not None and entry[0]() is root:
        if entry[1] == addresses:
            return
    else:
        write_paths(root)
    known.roots[id(root)] = (weakref.ref(root), addresses)
    for name, (address, size, index), kind in placed:
        role(address, size, kind, text(name), id(root), index)


def live_roots():
    return [root for root in (entry[0]() for entry in list(known.roots.values())) if root is not None]


def scan_for_roots(objects):
    """Modules that no other module contains."""
    modules = of_kind(objects, torch.nn.Module)
    inner = set()
    for item in modules:
        for child in item.__dict__.get("_modules", {}).values():
            if child is not None:
                inner.add(id(child))
    return [item for item in modules if id(item) not in inner]


def of_kind(objects, kind):
    """Those of the class or below, by real type; asks each type once."""
    kinds = {found for found in set(map(type, objects)) if issubclass(found, kind)}
    return [item for item in objects if type(item) in kinds]


def is_instance(item, kind):
    """By real type: isinstance() would ask lazy and proxy objects, whose __class__ runs code of the application."""
    return issubclass(type(item), kind)


def write_trees_from_collector():
    known.scanned = True
    for root in scan_for_roots(gc.get_objects()):
        write_tree(root)


def outermost_calls(original, observe, expect=None):
    """`original`, a method of modules that calls itself for the children; `observe` hears of the calls from outside.

    `expect` hears of them before.
    """
    inside = threading.local()
    observe = quiet(observe)
    expect = expect and quiet(expect)

    @functools.wraps(original)
    def method(self, *arguments, **named):
        outermost = not getattr(inside, "yes", False)
        inside.yes = True
        if outermost and expect:
            expect(self)
        try:
            result = original(self, *arguments, **named)
        except BaseException as error:
            # This frame is none of the application's. From Python 3.11 on a bare raise takes what is left here.
            error.__traceback__ = error.__traceback__.tb_next
            raise
        finally:
            inside.yes = not outermost
        if outermost:
            observe(self, *arguments, **named)
        return result

    return method


def hook_modes():
    """nn.Module.train, which eval() calls too: the outermost call says what follows."""

    def observe(root, mode=True):
        if not is_recording():
            return
        phase(TRAIN_MODE if mode else EVAL_MODE, id(root))
        entry = known.roots.get(id(root))
        if entry is None or entry[0]() is not root:
            write_tree(root)

    torch.nn.Module.train = outermost_calls(torch.nn.Module.train, observe)


def hook_moves():
    """nn.Module._apply, behind to() and cuda(): the paths of what comes to the device, for who dies in the forward.

    Paths only: what is moved here may be a part of a model, and its parameters have longer names.
    """

    def expect(root):
        Installed.moving = weakref.ref(root)

    def observe(root, *_, **__):
        Installed.moving = None
        if not is_recording() or id(root) in known.roots:
            return
        shown = known.shown.get(id(root))
        if shown is None or shown() is not root:
            write_paths(root)
            known.shown[id(root)] = weakref.ref(root)

    torch.nn.Module._apply = outermost_calls(torch.nn.Module._apply, observe, expect)


@quiet
def write_move():
    """What has come of a module whose way to a device was not finished."""
    root = Installed.moving and Installed.moving()
    if root is None:
        return
    arrived = left = trainable = 0
    for tensor in [*root.parameters(), *root.buffers()]:
        size = tensor.numel() * tensor.element_size()
        if tensor.is_cuda:
            arrived += size
        else:
            left += size
        if tensor.requires_grad:
            trainable += size
    model_move(arrived, left, trainable)


# ---- threads ----------------------------------------------------------------------------------------------------


def is_out_of_memory(error):
    """Whether it is one, or was raised while one was handled."""
    for _ in range(16):
        if error is None:
            return False
        if isinstance(error, torch.cuda.OutOfMemoryError) or "CUDA error: out of memory" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def hook_thread_ends():
    """A thread that dies of an exception takes nobody with it: the process may end well."""
    original = threading.excepthook

    @quiet
    def observe(failure):
        if is_recording() and is_out_of_memory(failure.exc_value):
            thread_failed()

    @functools.wraps(original)
    def excepthook(failure, /):
        observe(failure)
        original(failure)

    threading.excepthook = excepthook


# ---- optimizers -------------------------------------------------------------------------------------------------


def parameters_of(optimizer):
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def options_of(optimizer):
    group = optimizer.param_groups[0] if optimizer.param_groups else {}
    names = ("foreach", "fused", "capturable", "differentiable", "amsgrad", "maximize", "momentum", "weight_decay")
    return " ".join(f"{name}={group[name]}" for name in names if name in group)


def optimizer_entry(item):
    entry = known.optimizers.get(id(item))
    if entry is None or entry[0]() is not item:
        parameters = parameters_of(item)
        elements = sum(parameter.numel() for parameter in parameters)
        size = sum(parameter.numel() * parameter.element_size() for parameter in parameters)
        optimizer(id(item), text(type(item).__name__), size, elements, text(options_of(item)))
        entry = known.optimizers[id(item)] = [weakref.ref(item), 0, {}, False]
    return entry


def parameter_names(parameters):
    """id -> name; searches the process once where no known module owns a parameter."""
    names = {}

    def collect():
        for root in live_roots():
            for name, parameter in root.named_parameters():
                names.setdefault(id(parameter), name)

    collect()
    if not known.scanned and any(id(parameter) not in names for parameter in parameters):
        write_trees_from_collector()
        collect()
    return names


def write_gradients(item, entry):
    """The gradients, and once what the optimizer trains: of a second copy of a model it trains nothing."""
    parameters = parameters_of(item)
    names = parameter_names(parameters)
    for root in live_roots():
        write_tree(root)
    for number, parameter in enumerate(parameters):
        name = text(names.get(id(parameter), f"parameter {number}"))
        storage = cuda_storage(parameter)
        if storage is not None and (not entry[3] or id(parameter) not in names):
            role(storage[0], storage[1], PARAMETER, name, id(item), storage[2])
        storage = cuda_storage(parameter.grad) if parameter.grad is not None else None
        if storage is not None:
            role(storage[0], storage[1], GRADIENT, name, id(item), storage[2])
    entry[3] = True


def write_lone_gradients(tensors, optimizers):
    """At a death: of the leaves that no optimizer has. With these, every gradient that had arrived is named."""
    trained = {id(parameter) for item in optimizers for parameter in parameters_of(item)}
    leaves = [tensor for tensor in tensors if tensor.is_leaf and tensor.requires_grad and id(tensor) not in trained]
    names = parameter_names([])
    for leaf in leaves:
        storage = cuda_storage(leaf.grad) if leaf.grad is not None else None
        if storage is not None:
            role(storage[0], storage[1], GRADIENT, text(names.get(id(leaf), "")), 0, storage[2])


def write_states(item, entry):
    """The optimizer's state tensors, each storage once."""
    names = None
    written = {}
    for number, parameter in enumerate(parameters_of(item)):
        state = item.state.get(parameter)
        if not state or not hasattr(state, "items"):
            continue
        for key, value in state.items():
            storage = cuda_storage(value) if is_instance(value, torch.Tensor) else None
            if storage is None or storage[0] in written:
                continue
            if names is None:
                names = parameter_names([])
            name = f"{names.get(id(parameter), f'parameter {number}')}: {key}"
            written[storage[0]] = name
            if entry[2].get(storage[0]) != name:
                role(storage[0], storage[1], OPTIMIZER_STATE, text(name), id(item), storage[2])
    entry[2] = written


def worth_a_look(steps):
    """The first steps, then ever more rarely: what an optimizer owns changes early or not at all."""
    return steps < 3 or steps & (steps - 1) == 0


@quiet
def before_step(item, *_):
    if not is_recording():
        return
    entry = optimizer_entry(item)
    phase(OPTIMIZER_STEP_BEGIN, id(item))
    if worth_a_look(entry[1]):
        write_gradients(item, entry)
    watch_timeline(id(item), entry[1] + 1)


@quiet
def after_step(item, *_):
    if not is_recording():
        return
    phase(OPTIMIZER_STEP_END, id(item))
    entry = optimizer_entry(item)
    if worth_a_look(entry[1]):
        write_states(item, entry)
    entry[1] += 1
    watch_growth(id(item))


def hook_steps():
    optimizers = sys.modules["torch.optim.optimizer"]
    optimizers.register_optimizer_step_pre_hook(before_step)
    optimizers.register_optimizer_step_post_hook(after_step)


def module_call():
    """The code object of nn.Module's call whose first local variable is the module itself, not a cell."""
    for name in ("_wrapped_call_impl", "_call_impl"):
        function = getattr(torch.nn.Module, name, None)
        code = getattr(function, "__code__", None)
        if code is not None and code.co_varnames[:1] == ("self",) and "self" not in code.co_cellvars:
            return id(code)
    return 0


class Installed:
    """What is in place in this process; a forked child inherits it."""

    stacks = False
    hooks = False
    stack_problem = ""
    moving = None  # weak reference to the module whose tensors are being moved or cast


def begin_stacks():
    Installed.stacks = True
    Installed.stack_problem = start_stacks()


# ---- the four tasks ---------------------------------------------------------------------------------------------


class ImportWatch:
    """Asked for every module that is imported, until PyTorch's own imports have brought what the hooks need."""

    @staticmethod
    def find_spec(*question):
        if not install() or ImportWatch not in sys.meta_path:
            return None
        # Whoever asks goes through the list by position: without us it would pass over the finder behind us.
        behind = sys.meta_path[sys.meta_path.index(ImportWatch) + 1]
        sys.meta_path.remove(ImportWatch)
        return behind.find_spec(*question)


@quiet
def prepare():
    """In the middle of `import torch`: whoever imports it, whichever thread trains, stacks and hooks are there."""
    begin_stacks()
    if not install():
        sys.meta_path.insert(0, ImportWatch)


def parts_are_there():
    optimizers = sys.modules.get("torch.optim.optimizer")
    return hasattr(torch, "nn") and hasattr(optimizers, "register_optimizer_step_post_hook")


@quiet
def install():
    """Whether all hooks are in place now."""
    if Installed.hooks:
        return True
    if not Installed.stacks:
        begin_stacks()
    if not parts_are_there():
        return False
    Installed.hooks = True
    use_module_call(module_call())
    hook_modes()
    hook_moves()
    hook_steps()
    hook_thread_ends()
    if "atexit" in sys.modules:
        sys.modules["atexit"].register(at_exit)
    return True


@quiet
def begin():
    """A recording has begun: in this process, or in a child that was forked from it."""
    hooks()
    if Installed.stack_problem:
        note(text(Installed.stack_problem))
    versions(text(sys.version.split()[0]), text(torch.__version__), text(torch.version.cuda or ""))
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        device(
            index,
            text(properties.name),
            properties.total_memory,
            properties.major,
            properties.minor,
            properties.multi_processor_count,
        )
        processes(index)


COPIES = 3  # modules of one class beyond those that are trained: copies, which somebody keeps


def owning_roots(optimizers):
    """Known modules, without copies of a model that pile up: those are held, and by whom is the question."""
    trained = {id(parameter) for item in optimizers for parameter in parameters_of(item)}
    others, owning = {}, []
    for root in live_roots():
        if any(id(parameter) in trained for parameter in root.parameters()):
            owning.append(root)
        else:
            others.setdefault(type(root), []).append(root)
    return owning + [root for group in others.values() if len(group) < COPIES for root in group]


def owning_optimizers(optimizers):
    """Those whose states are theirs: of many that train the same parameters, who keeps them is the question."""
    trainers = {}
    for item in optimizers:
        for parameter in parameters_of(item)[:1]:
            trainers.setdefault(id(parameter), []).append(item)
    return [item for alike in trainers.values() if len(alike) <= COPIES for item in alike]


def owned_addresses(optimizers):
    """Storages that a module, a gradient or an optimizer accounts for."""
    owned = set()
    for root in owning_roots(optimizers):
        owned.update(storage[0] for storage in map(cuda_storage, [*root.parameters(), *root.buffers()]) if storage)
    for item in optimizers:
        parameters = parameters_of(item)
        grads = [parameter.grad for parameter in parameters if parameter.grad is not None]
        owned.update(storage[0] for storage in map(cuda_storage, parameters + grads) if storage)
    for item in owning_optimizers(optimizers):
        # The state of a parameter that it no longer steps is kept in vain.
        owned.update(storage_addresses([item.state.get(parameter) for parameter in parameters_of(item)]))
    return owned


def storage_addresses(states):
    """Of an optimizer's state tensors."""
    values = [value for entry in states if is_instance(entry, dict) for value in entry.values()]
    storages = [cuda_storage(value) for value in values if is_instance(value, torch.Tensor)]
    return [storage[0] for storage in storages if storage]


MOST_BLOCKS = 200_000  # of the allocator, which its snapshot lists: about 1 us each


@quiet
def write_private_pools():
    """Which segments belong to the pools of MemPool and CUDA graphs: the allocator alone knows."""
    if torch._C._cuda_getAllocatorBackend() != "native" or torch._C._cuda_isHistoryEnabled():
        return  # with its history on, a snapshot lists all of that
    if torch.cuda.memory_stats().get("active.all.current", 0) > MOST_BLOCKS:
        return
    pools = {}
    for segment in torch.cuda.memory_snapshot():
        identity = tuple(segment.get("segment_pool_id", (0, 0)))
        if identity != (0, 0):
            pool = pools.setdefault(identity, len(pools) + 1)
            private_segment(segment["address"], segment["total_size"], pool, segment["device"])


@quiet
def out_of_memory():
    for index in range(torch.cuda.device_count()):
        processes(index)
    write_private_pools()
    write_move()
    objects = gc.get_objects()
    for root in scan_for_roots(objects):
        write_tree(root)
    optimizers = of_kind(objects, torch.optim.Optimizer)
    for item in optimizers:
        entry = optimizer_entry(item)
        write_gradients(item, entry)
        write_states(item, entry)
    with torch._C.DisableTorchFunctionSubclass():
        write_lone_gradients(of_kind(objects, torch.Tensor), optimizers)
    growth.died = True
    load_search()
    write_holders(objects, owned_addresses(optimizers), LARGEST, SECONDS, WORKING)


def run_task(tasks):
    """False: PyTorch is not there yet, ask again."""
    if tasks & TASK_PREPARE:
        prepare()
        return True
    if not install():
        return False
    if ImportWatch in sys.meta_path:  # nothing was imported after what the hooks needed
        sys.meta_path.remove(ImportWatch)
    if tasks & TASK_BEGIN and is_recording():
        begin()
    if tasks & TASK_OUT_OF_MEMORY and is_recording():
        out_of_memory()
    return True
