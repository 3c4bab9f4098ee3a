"""Finding the app that `-A` names."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Iterable
from types import ModuleType
from typing import Final

from celeriac.client.app import Celeriac
from celeriac.client.fixups import close_connections
from celeriac.exceptions import ImproperlyConfigured

AS_CELERY_VARIABLE: Final = "CELERIAC_AS_CELERY"
"""Set to 1, the command line and the processes of its workers answer `import celery`; see `celeriac.compat`."""
ATTRIBUTES: Final = ("app", "celeriac", "celery")
SUBMODULES: Final = ("celeriac", "celery")


def load_app(spec: str, workdir: str | None = None) -> Celeriac:
    """Import the app that `spec` names: `module`, `module:attribute` or `package` (as Celery's `-A`).

    Without an attribute, `app`, `celeriac` and `celery` are tried, then any `Celeriac` in the module, then the submodules
    `celeriac` and `celery` of a package.  `workdir` (default: the current directory) is put on the import path.
    Raises `ImproperlyConfigured` that says what was tried, with the traceback when the module itself fails.
    """
    directory = os.path.abspath(workdir or os.getcwd())
    if directory not in sys.path:
        sys.path.insert(0, directory)
    module_name, _, attribute = spec.partition(":")
    module = _import(module_name, spec)
    app = _named(module, attribute, spec) if attribute else _search(module, spec)
    app.import_default_modules()
    app.finalize()
    close_connections(app)
    return app


def _import(name: str, spec: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(error.name + ".")):
            raise ImproperlyConfigured(
                f"cannot import {name!r} of -A {spec}: no such module on the import path (working directory"
                f" {os.getcwd()}); start in the project's directory or give --workdir"
            ) from None
        raise _broken(name, spec) from error
    except Exception as error:
        raise _broken(name, spec) from error


def _broken(name: str, spec: str) -> ImproperlyConfigured:
    return ImproperlyConfigured(f"importing {name!r} of -A {spec} failed:\n{traceback.format_exc().rstrip()}")


def _named(module: ModuleType, attribute: str, spec: str) -> Celeriac:
    found: object = module
    for part in attribute.split("."):
        found = getattr(found, part, None)
    if isinstance(found, Celeriac):
        return found
    what = "does not exist" if found is None else f"is a {type(found).__name__}"
    raise ImproperlyConfigured(f"{attribute!r} of -A {spec} {what}, not a Celeriac app{_cure([found])}")


def _search(module: ModuleType, spec: str) -> Celeriac:
    for attribute in ATTRIBUTES:
        found = getattr(module, attribute, None)
        if isinstance(found, Celeriac):
            return found
    apps = [value for value in vars(module).values() if isinstance(value, Celeriac)]
    if apps:
        return apps[0]
    if hasattr(module, "__path__"):
        for submodule in SUBMODULES:
            name = f"{module.__name__}.{submodule}"
            if importlib.util.find_spec(name) is not None:
                return _search(_import(name, spec), spec)
    cure = _cure(vars(module).values()) or f"; name it as -A {module.__name__}:variable"
    raise ImproperlyConfigured(f"-A {spec}: module {module.__name__!r} holds no Celeriac app{cure}")


def _cure(found: Iterable[object]) -> str:
    """Say what to do where there is one of Celery's apps."""
    if any(type(value).__name__ == "Celery" and type(value).__module__.startswith("celery.") for value in found):
        return ", but one of Celery's: change the program's imports to celeriac, or run it as it is by `celeriac --as-celery`"
    return ""
