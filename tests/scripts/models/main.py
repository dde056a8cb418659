"""python main.py [--saved] NAME…: each scenario in a child of its own, forked once the libraries are imported.

Children have traces of their own, told apart by process id. One JSON line for each: see run.py.
"""

import contextlib
import os
import sys
import traceback

import ordinary
import run
import techniques

SCENARIOS = ordinary.SCENARIOS | techniques.SCENARIOS


def main():
    names = sys.argv[1:]
    hooks = contextlib.nullcontext
    if names[:1] == ["--saved"]:
        names, hooks = names[1:], run.count_saved
    for name in names or SCENARIOS:
        if os.fork() == 0:
            try:
                with hooks():
                    run.report(name, SCENARIOS[name])
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(0)
        os.wait()


if __name__ == "__main__":
    main()
