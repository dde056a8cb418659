"""What the recorder needs of any Python: a walk of its frames that is known to be right.

liboomtrace.so executes this source, alone in a program without PyTorch, before python_part.py in one with it; then it
calls run_plain or run_task. The rules are python_part.py's; nothing at all is imported here.
"""
# ruff: noqa: F821 - the undefined names are the recorder's functions, put into this namespace by native_module.cc

import sys


def text(value):
    """As the recorder takes it: UTF-8 without zero bytes."""
    return str(value).encode("utf-8", "replace").replace(b"\0", b"?")


def quiet(function):
    """A failure of ours is a note in the trace, never the application's."""

    def guarded(*arguments, **named):
        try:
            return function(*arguments, **named)
        except Exception as error:
            note(text(f"Python part, {function.__name__}: {type(error).__name__}: {error}"))
            return None

    return guarded


# ---- the stack walk ---------------------------------------------------------------------------------------------


def expected_stack():
    frame = sys._getframe(1)
    stack = []
    while frame is not None and len(stack) < 64:
        code = frame.f_code
        stack.append((code.co_filename, getattr(code, "co_qualname", code.co_name), frame.f_lineno))
        frame = frame.f_back
    return stack


def stacks_agree():
    """The raw walk against the interpreter's own word, from a nested function, a generator and a comprehension."""

    def nested(depth):
        if depth:
            return nested(depth - 1)
        return same_here()

    def same_here():
        seen, expected = raw_stack(), expected_stack()
        return seen is not None and seen[1:] == expected[1:] and seen[0][:2] == expected[0][:2]

    def generator():
        yield nested(3)

    return all([nested(0), nested(5), *generator(), *[nested(depth) for depth in (1, 2)]])


def code_is_watched():
    """Whether the death of a code object is seen: another may be given its address, but not its name."""
    before = watch_code()
    if before is None:
        return False
    compile("0", "<oomtrace>", "eval")
    return watch_code() > before


def start_stacks():
    """Stacks from here on, if the walk is right in this interpreter. Returns why not, or ""."""
    if not stacks_wanted():
        use_stacks(0)
        return "no Python stacks: OOMTRACE_STACKS switches them off"
    if stacks_agree() and code_is_watched():
        use_stacks(1)
        return ""
    use_stacks(0)
    return f"no Python stacks: the layout of frames in Python {sys.version.split()[0]} is not known"


@quiet
def run_plain():
    """A recording has begun in a program that has not imported PyTorch."""
    problem = start_stacks()
    if not recording():
        return
    hooks()
    if problem:
        note(text(problem))
    versions(text(sys.version.split()[0]), b"", b"")
    processes(0)
