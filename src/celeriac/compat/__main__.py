"""`python -m celeriac.compat`: run a program, a module or a command of Celery's on Celeriac, unchanged.

python -m celeriac.compat manage.py runserver
python -m celeriac.compat -m gunicorn proj.wsgi
python -m celeriac.compat -m celery -A proj worker
"""

from __future__ import annotations

import importlib
import os
import runpy
import sys
from typing import Final

from celeriac.compat.installing import install
from celeriac.exceptions import CeleriacError

USAGE: Final = "usage: python -m celeriac.compat (program.py | -m module) [arguments...]"
USAGE_ERROR: Final = 2


def main(arguments: list[str]) -> None:
    """Run what the arguments name, as Python would have done it, with `import celery` answered."""
    is_module = arguments[:1] == ["-m"]
    program = arguments[1:] if is_module else arguments
    if not program or program[0].startswith("-"):
        sys.exit(f"{USAGE}\n\n{__doc__}" if program[:1] in (["-h"], ["--help"]) else USAGE)
    try:
        install()
    except CeleriacError as error:
        sys.exit(f"error: {error}")
    sys.argv[:] = program
    if is_module and program[0] == "celery":
        importlib.import_module("celeriac.cli").main(program[1:])
    elif is_module:
        sys.path[0] = os.getcwd()
        runpy.run_module(program[0], run_name="__main__", alter_sys=True)
    elif not os.path.exists(program[0]):
        sys.exit(f"error: there is no program {program[0]!r}; for a module write -m {program[0]}")
    else:
        sys.path[0] = os.path.dirname(os.path.abspath(program[0]))
        runpy.run_path(program[0], run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1:])
