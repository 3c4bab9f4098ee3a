"""Names for tasks that are given none."""

from __future__ import annotations

import sys
from pathlib import Path


def gen_task_name(main: str | None, function_name: str, module_name: str) -> str:
    """Return `module.function`.

    In a program's main module the module's real name is not `__main__`: it is `main` if the app has one, else the name by
    which a worker will import the file, so that both sides agree.
    """
    if module_name == "__main__":
        module_name = main or main_module_name()
    return f"{module_name}.{function_name}"


def main_module_name() -> str:
    """Return the name by which another process imports the module that was started."""
    main_module = sys.modules.get("__main__")
    spec = getattr(main_module, "__spec__", None)
    if spec is not None and spec.name:  # started as `python -m package.module`
        return str(spec.name).removesuffix(".__main__")
    file = getattr(main_module, "__file__", None)
    return Path(file).stem if file else "__main__"
