"""Looks for holders before memory runs out: where what lives at the ends of steps grows, and at exit.

What lives is asked of PyTorch at 2, 3, 4, 6, 8, 12, ... of an optimizer's steps, which costs nothing worth a number. A
search takes as long as a collection of garbage does, a few dozen milliseconds: it is made only where memory has kept
growing, and not again before 50 times as long has passed.
"""
# ruff: noqa: F821 - the names come from native_module.cc and the other files of this namespace

FIRST_LOOK = 8  # steps: by then what is born once has been born
GROWTH_SHARE = 4096  # of the card, in the last half of all steps: less would take thousands of times as long to fill it
UNOWNED_SHARE = 64  # of the card, at the end of a program without an optimizer
GOES_ON = 0.75  # of the rate before: batches differ
LARGEST, LARGEST_RUNNING = 24, 8  # single tensors to look for: at a death the question is what is large as well
WORKING, WORKING_RUNNING = 2.0, 1.5  # seconds of work that a search takes at most: after a death, and before one
SECONDS = 10.0  # and on the clock, of a machine that has little time for us
PAUSE = 50  # times a search's own duration, until the next one


def timeline_looks():
    """Steps of a timeline's window in which the holders of what lives are asked for: the second, when all that is born
    once has been born, and the last."""
    window = timeline_window()
    if window is None:
        return ()
    first, last = window
    return {min(first + 1, last), last}


class Growth:
    def __init__(self):
        self.begun, self.spent = time.monotonic(), 0.0
        self.named = False  # a search has come to its end
        self.clock = 0  # the optimizer whose steps count: the first one seen, or who took over
        self.steps = 0  # so counted
        self.since = set()  # optimizers that have stepped since
        self.looks = {}  # steps -> bytes that lived at their end
        self.died = False
        self.timeline = timeline_looks()


growth = Growth()


def load_search():
    """Compiles the search (graphs.py, referrers.py, paths.py, holders.py) into this namespace, once it is wanted."""
    if "write_holders" not in globals():
        exec(compile(search_source(), "<oomtrace>", "exec"), globals())


def live_bytes():
    return torch.cuda.memory_allocated()


def counts_memory():
    """A pluggable allocator has no count of what lives."""
    return torch.cuda.get_allocator_backend() in ("native", "cudaMallocAsync")


def is_look(steps):
    """At powers of two and half-way between them."""
    return steps >= FIRST_LOOK // 4 and not (steps & (steps - 1) and (steps % 3 or (steps // 3) & (steps // 3 - 1)))


def keeps_growing():
    """A leak adds as much in each step between the last two looks as before; a warm-up or a filled cache adds less."""
    if len(growth.looks) < 3:
        return False
    (first, before), (second, middle), (third, now) = sorted(growth.looks.items())[-3:]
    enough = torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory // GROWTH_SHARE
    earlier, later = (middle - before) / (second - first), (now - middle) / (third - second)
    return earlier > 0 and later >= GOES_ON * earlier and now - before >= enough


def search_holders():
    started = time.monotonic()
    load_search()
    optimizers = [entry[0]() for entry in known.optimizers.values()]
    objects = gc.get_objects()
    owned = owned_addresses([item for item in optimizers if item is not None])
    growth.named = bool(write_holders(objects, owned, LARGEST_RUNNING, SECONDS, WORKING_RUNNING))
    growth.spent += time.monotonic() - started


@quiet
def watch_timeline(identity, steps):
    """Before an optimizer's step, the first of which is number 1: the variables of the step in work are bound."""
    growth.clock = growth.clock or identity
    if identity == growth.clock and steps in growth.timeline:
        named = growth.named
        search_holders()
        growth.named = named  # whether something grows has not been asked


def is_round(identity):
    """Whether with this optimizer's step a round of all optimizers begins anew. One that steps twice while the clock
    does not has taken its place: an optimizer made for each epoch, or for each phase of a training."""
    if growth.clock not in (0, identity) and identity not in growth.since:
        growth.since.add(identity)
        return False
    growth.clock, growth.since = identity, set()
    growth.steps += 1
    return True


@quiet
def watch_growth(identity):
    """After an optimizer's step."""
    if not is_round(identity) or not is_look(growth.steps) or not counts_memory():
        return
    steps = growth.steps
    growth.looks[steps] = live_bytes()
    if steps < FIRST_LOOK or not keeps_growing():
        return
    if growth.spent and time.monotonic() - growth.begun < PAUSE * growth.spent:
        return
    search_holders()


def grew_unwatched():
    """Nothing was looked at: no optimizer has stepped. What no module owns is large at the end."""
    if known.optimizers or not torch.cuda.is_initialized() or not counts_memory():
        return False
    owned = {storage for root in live_roots() for storage in map(cuda_storage, root.parameters()) if storage}
    total = torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory
    return live_bytes() - sum(storage[1] for storage in owned) >= total // UNOWNED_SHARE


def grew_to_the_end():
    last = max(growth.looks)
    enough = torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory // GROWTH_SHARE
    return last >= FIRST_LOOK and live_bytes() - growth.looks[min(growth.looks)] >= enough


def write_ending():
    """Which exception nobody caught, and whether running out of memory is behind it."""
    error = getattr(sys, "last_value", None)
    if not is_instance(error, BaseException):
        return
    behind, chain = set(), error
    while chain is not None and id(chain) not in behind:
        behind.add(id(chain))
        if is_instance(chain, torch.cuda.OutOfMemoryError) and chain is not error:
            note(text(f"ended by {type(error).__name__} of OutOfMemoryError"))
            return
        chain = chain.__cause__ or chain.__context__
    note(text(f"ended by {type(error).__name__}"))


@quiet
def at_exit():
    """Local variables are gone by now; what globals, classes and caches keep is still there."""
    if not is_recording():
        return
    write_ending()
    if growth.died or growth.named:
        return
    if grew_to_the_end() if growth.looks else grew_unwatched():
        search_holders()
