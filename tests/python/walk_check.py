"""Compares the recorder's walk of Python frames with what the interpreter says, in the interpreter that runs this.

    python3.X walk_check.py liboomtrace_stack_probe.so       prints "ok", or what differs

Runs in Python 3.9 to 3.14 with nothing but the standard library.
"""

import asyncio
import ctypes
import functools
import re
import signal
import sys
import threading
import weakref

MOST = 64
BUFFER = 1 << 20

without_gil, with_gil = ctypes.CDLL(sys.argv[1]), ctypes.PyDLL(sys.argv[1])
for library in (without_gil, with_gil):
    library.probe_stack.restype = ctypes.c_int64
    library.probe_stack.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
    library.probe_hash.restype = ctypes.c_uint64

checked = set()
failures = []


def decoded(buffer, size):
    if size < 0:
        raise SystemExit("the layout of this interpreter is not known")
    frames = buffer.raw[:size].decode("utf-8").split("\x1e")[:-1]
    return [(file, function, int(line)) for file, function, line in (frame.split("\x1f") for frame in frames)]


def printable(text):
    return re.sub("[\ud800-\udfff]", "\ufffd", text)  # as the recorder writes what is not UTF-8


def expected(frame):
    stack = []
    while frame is not None and len(stack) < MOST:
        name = getattr(frame.f_code, "co_qualname", frame.f_code.co_name)
        stack.append((printable(frame.f_code.co_filename), printable(name), frame.f_lineno))
        frame = frame.f_back
    return stack


def check(case):
    """Both libraries from here; the frames above this one must be what the interpreter says."""
    buffer = ctypes.create_string_buffer(BUFFER)
    for library in (without_gil, with_gil):
        seen = decoded(buffer, library.probe_stack(buffer, BUFFER))
        said = expected(sys._getframe())
        if [frame[:2] for frame in seen[:1]] != [frame[:2] for frame in said[:1]] or seen[1:] != said[1:]:
            failures.append(f"{case}: the walk saw\n  {seen[1:]}\nand the interpreter says\n  {said[1:]}")
    checked.add(case)
    return 0


class Frames:
    def method(self):
        return check("method")

    @property
    def value(self):
        return check("property")

    @staticmethod
    def static():
        return check("static method")

    def __enter__(self):
        return self

    def __exit__(self, *error):
        check("exit, with an exception under way")
        return True


def recursion(depth):
    return recursion(depth - 1) if depth else check("recursion")


def generator(depth):
    if depth:
        yield from generator(depth - 1)
    else:
        yield check("generator")
        yield check("generator, resumed")


async def coroutine(depth):
    if depth:
        return await coroutine(depth - 1)
    await asyncio.sleep(0)
    return check("coroutine")


async def asynchronous():
    async for _ in asynchronous_generator():
        check("asynchronous loop")
    await asyncio.gather(coroutine(3), coroutine(0))


async def asynchronous_generator():
    yield check("asynchronous generator")


def between_c_frames():
    list(map(lambda _: check("map"), [0]))
    sorted([2, 1], key=lambda _: check("sorted"))
    functools.reduce(lambda *_: check("reduce"), [1, 2, 3])
    re.sub("a", lambda _: str(check("re.sub")), "aa")
    functools.partial(check, "partial")()
    [check("comprehension") for _ in range(2)]
    {check("set comprehension"): check("dict value") for _ in range(1)}
    list(check("generator expression") for _ in range(2))
    callback = ctypes.CFUNCTYPE(ctypes.c_int)(lambda: check("C callback"))
    callback()


def executed():
    code = compile("def outer():\n\n  def inner(): return check('exec')\n  return inner()\nouter()", "<cell 1>", "exec")
    exec(code, {"check": check})
    eval("(lambda: check('eval'))()", {"check": check})
    long_line = "\n" * 70000 + "check('a large line number')"
    exec(compile(long_line, "<large>", "exec"), {"check": check})


def names_beyond_ascii():
    for file, name in (("/tmp/ü.py", "größe"), ("/tmp/模型.py", "训练"), ("/tmp/🚂.py", "𝐱"), ("/tmp/\udcff.py", "f")):
        code = compile(f"def {name}(): check({file!r})\n{name}()", file, "exec")
        exec(code, {"check": check})


def at_odd_moments():
    class Dies:
        def __del__(self):
            check("finalizer")

    Dies()
    kept = Dies()
    weakref.finalize(kept, check, "weak reference")
    del kept
    signal.signal(signal.SIGUSR1, lambda *_: check("signal handler"))
    signal.raise_signal(signal.SIGUSR1)
    with Frames():
        raise ValueError
    try:
        raise ValueError
    except ValueError:
        check("except")
    finally:
        check("finally")


def under_a_tracer():
    sys.settrace(lambda *_: None)
    try:
        check("a trace function")
        recursion(3)
    finally:
        sys.settrace(None)


def in_a_thread():
    thread = threading.Thread(target=lambda: [check("thread"), recursion(5), list(generator(2))])
    thread.start()
    thread.join()


def generated(number):
    """A function like no other, at an address that has been used before."""
    space = {"check": lambda: known()}
    exec(compile("\n" * (number % 50) + f"def f{number % 7}(): return check()", f"<cell {number % 11}>", "exec"), space)
    return space[f"f{number % 7}"]


names = {}


def known():
    """One hash must never stand for two stacks."""
    buffer = ctypes.create_string_buffer(4096)
    key = without_gil.probe_hash()
    # Of this frame and the lambda that calls it, only the generated function's differs.
    stack = decoded(buffer, without_gil.probe_stack(buffer, 4096))[2:4]
    if names.setdefault(key, stack) != stack:
        failures.append(f"one hash for {names[key]} and {stack}")
    return stack[0]


def code_objects_that_die():
    if not without_gil.probe_watch():
        raise SystemExit("the death of code objects cannot be watched")
    addresses, reused = set(), 0
    for number in range(5000):
        function = generated(number)
        reused += id(function.__code__) in addresses
        addresses.add(id(function.__code__))
        file, name, line = function()
        if (file, name, line) != (f"<cell {number % 11}>", f"f{number % 7}", number % 50 + 1):
            failures.append(f"function {number} is called {file}:{line} {name}")
        del function
    if reused < 1000:
        failures.append(f"{reused} addresses were used again: this proves nothing")
    check("code objects that die")


def deep():
    sys.setrecursionlimit(5000)
    recursion(1000)


def main():
    Frames().method()
    Frames().value  # noqa: B018 - a property that checks
    Frames.static()

    class Body:
        check("class body")

    list(generator(0))
    list(generator(5))
    asyncio.run(asynchronous())
    between_c_frames()
    executed()
    names_beyond_ascii()
    at_odd_moments()
    under_a_tracer()
    in_a_thread()
    deep()
    code_objects_that_die()
    if failures:
        raise SystemExit("\n".join(failures[:10]))
    print(f"ok: {len(checked)} cases, Python {sys.version.split()[0]}")


main()
