"""A module that is answered: its names are looked up when they are first asked for."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

from celeriac.compat import tables
from celeriac.compat.source import Source


class AnsweredModule(ModuleType):
    """A module of Celery's whose names stand for objects of ours.

    A name is found in the table's own entries, then in the modules of ours, then among the modules below this one: `celery.exceptions`
    can be used after `import celery`.  What has been found is kept, so that a patch of it stays.
    """

    def __getattr__(self, name: str) -> Any:
        source = tables.MODULES.get(self.__name__)
        if source is None or (name.startswith("__") and name not in ("__all__", *source.names)):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        if name == "__all__":
            return sorted(public_names(source))
        found = _find(self.__name__, source, name)
        setattr(self, name, found)
        return found

    def __dir__(self) -> list[str]:
        source = tables.MODULES.get(self.__name__, Source())
        return sorted({*vars(self), *public_names(source)})


def public_names(source: Source) -> set[str]:
    """Return the names that a module has. Imports the modules of ours that they come from."""
    found = {name for name in source.names if not name.startswith("_")}
    for module in source.modules:
        origin = importlib.import_module(module)
        found |= set(getattr(origin, "__all__", ())) or {name for name in vars(origin) if not name.startswith("_")}
    return found


def resolve(path: str) -> Any:
    """Return what `module:attribute`, or a module alone, names."""
    module, _, attributes = path.partition(":")
    found: Any = importlib.import_module(module)
    for attribute in attributes.split(".") if attributes else ():
        found = getattr(found, attribute)
    return found


def _find(module: str, source: Source, name: str) -> Any:
    if name in source.names:
        return resolve(source.names[name])
    for origin in source.modules:
        found = importlib.import_module(origin)
        if hasattr(found, name):
            return getattr(found, name)
    if f"{module}.{name}" in tables.MODULES:
        return importlib.import_module(f"{module}.{name}")
    raise AttributeError(explain(f"{module}.{name}"), name=name)


def explain(name: str) -> str:
    """Return what to say about a module, or a name in one, that is not here."""
    instead = tables.instead_of(name)
    return f"Celeriac, which answers for {name.partition('.')[0]} here, has no {name}" + (
        f": {instead}" if instead else ""
    )
