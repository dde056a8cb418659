# One interpreter that has imported what a script imports, forked for each run of it: imports take longer than small
# trainings. It runs in the trials' environment, and never touches the device: CUDA does not survive a fork.
#
# Lines of JSON on stdin and stdout: first {"script", "module"} (one of them ""), answered by {"cannot": why it must not
# be done this way, "": it can}. Then each {"arguments", "stdout", "stderr"} is answered by {"pid"} of a child that is a
# process group of its own, and, when that has ended, by {"status"} as waitpid() has it. It ends with its input.
import ast
import importlib.machinery
import json
import os
import runpy
import sys


def source_of(name):
    """The file of a module beside the script; "" for one of an installed package."""
    stem = os.path.join(sys.path[0], *name.split("."))
    for path in (stem + ".py", os.path.join(stem, "__init__.py")):
        if os.path.isfile(path):
            return path
    return ""


def sets_environment(node):
    """Whether a statement sets a variable of the environment, which a module may read while it is imported."""
    if isinstance(node, (ast.Subscript, ast.Attribute)) and isinstance(node.ctx, (ast.Store, ast.Del)):
        return isinstance(node, ast.Subscript) and is_environ(node.value)
    if not isinstance(node, ast.Call):
        return False
    name = getattr(node.func, "attr", getattr(node.func, "id", ""))
    if name in ("putenv", "unsetenv", "load_dotenv"):
        return True
    return (
        name in ("update", "setdefault", "pop") and isinstance(node.func, ast.Attribute) and is_environ(node.func.value)
    )


def is_environ(node):
    return getattr(node, "attr", getattr(node, "id", "")) == "environ"


def statements(body):
    """Those that run when the module is imported, as far as their place says."""
    for node in body:
        yield node
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            for part in ("body", "orelse", "finalbody", "handlers"):
                yield from statements(getattr(node, part, []))


def imports_of(path, seen, found):
    """Adds (module, names) of what installed packages the file, and the files beside it that it imports, need. Returns
    why they must not be imported ahead, "" for nothing."""
    seen.add(path)
    with open(path, "rb") as file:
        tree = ast.parse(file.read(), path)
    for node in ast.walk(tree):
        if sets_environment(node):
            return (
                f"{path}:{node.lineno} sets a variable of the environment, which modules read while they are imported"
            )
    for node in statements(tree.body):
        wanted = []
        if isinstance(node, ast.Import):
            wanted = [(alias.name, ()) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            wanted = [(node.module, tuple(alias.name for alias in node.names))]
        for module, names in wanted:
            beside = [source_of(module), *(source_of(f"{module}.{name}") for name in names if name != "*")]
            if source_of(module.split(".")[0]) or any(beside):
                for file in beside:
                    why = imports_of(file, seen, found) if file and file not in seen else ""
                    if why:
                        return why
            else:
                found.append((module, names))
    return ""


def import_ahead(found):
    for module, names in found:
        # What fails here fails in the script again, or is what it is prepared for.
        try:
            imported = importlib.import_module(module)
            for name in names:
                getattr(imported, name, None)
        except Exception:
            pass


def prepare(request):
    script, module = request["script"], request["module"]
    sys.path[0] = os.path.dirname(os.path.realpath(script)) if script else os.getcwd()
    sys.argv = [script or "-m"]
    path = script or source_of(module) or source_of(module + ".__main__")
    if not os.path.isfile(path):
        return f"{path or module} is no Python file beside the command"
    found = []
    try:
        why = imports_of(path, set(), found)
    except (SyntaxError, ValueError, RecursionError) as error:
        return f"{path} cannot be parsed: {error}"
    if why:
        return why
    import_ahead(found)
    torch = sys.modules.get("torch")
    if torch is None:
        return f"{path} imports no PyTorch"
    # The optimizers import it with their first instance; it takes as long as PyTorch itself.
    import torch._dynamo

    if torch.cuda.is_initialized():
        return "importing its modules initialises CUDA, which does not survive a fork"
    return ""


def answer(**fields):
    os.write(1, (json.dumps(fields) + "\n").encode())


def redirect(path, descriptor, flags):
    file = os.open(path, flags, 0o600)
    os.dup2(file, descriptor)
    os.close(file)


def requests():
    """Each line of stdin. Unbuffered: a child must not hold what is meant for its parent."""
    text = b""
    while True:
        while b"\n" not in text:
            more = os.read(0, 65536)
            if not more:
                return
            text += more
        line, text = text.split(b"\n", 1)
        yield json.loads(line)


def become(request):
    """In the child: the process that would have been started for it."""
    import ctypes
    import signal

    os.setpgid(0, 0)
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    redirect(os.devnull, 0, os.O_RDONLY)
    redirect(request["stdout"], 1, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    redirect(request["stderr"], 2, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    sys.argv[1:] = request["arguments"]


def serve():
    """Returns what to run, in each child; None in the parent, at the end."""
    lines = requests()
    what = next(lines)
    why = prepare(what)
    answer(cannot=why)
    if why:
        return None
    for request in lines:
        sys.stdout.flush()
        child = os.fork()
        if child == 0:
            become(request)
            return what
        answer(pid=child)
        answer(status=os.waitpid(child, 0)[1])
    return None


def clear(script):
    """Leaves in this module what `python script` would begin with; the code to run."""
    script = os.path.abspath(script)
    with open(script, "rb") as source:
        code = compile(source.read(), script, "exec")
    loader = importlib.machinery.SourceFileLoader("__main__", script)
    space = globals()
    for name in [name for name in space if not name.startswith("__")]:
        del space[name]
    space.update(__file__=script, __cached__=None, __loader__=loader)
    return code


WHAT = serve()
if WHAT and WHAT["module"]:
    runpy._run_module_as_main(WHAT["module"])
elif WHAT:
    exec(clear(WHAT["script"]))
