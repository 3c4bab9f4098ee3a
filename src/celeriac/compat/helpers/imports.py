"""`celery.utils.imports`: objects by their names."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

from celeriac.client.naming import gen_task_name

__all__ = ["gen_task_name", "get_full_cls_name", "instantiate", "qualname", "symbol_by_name"]


def symbol_by_name(
    name: Any,
    aliases: Mapping[str, str] | None = None,
    imp: Callable[..., Any] | None = None,
    package: str | None = None,
    sep: str = ".",
    default: Any = None,
    **_named: Any,
) -> Any:
    """Return the object that `package.module:name` or `package.module.name` names; what is no text as it is.

    Raises `ImportError` and `AttributeError`, unless there is a `default`.
    """
    if not isinstance(name, str):
        return name
    name = (aliases or {}).get(name) or name
    module, _, attribute = name.rpartition(":" if ":" in name else sep)
    if not module:
        module, attribute = attribute, ""
    try:
        found = (
            (imp or importlib.import_module)(module, package) if package else (imp or importlib.import_module)(module)
        )
        return getattr(found, attribute) if attribute else found
    except (ImportError, AttributeError):
        if default is None:
            raise
        return default


def instantiate(name: Any, *args: Any, **kwargs: Any) -> Any:
    """Call the class of this name."""
    return symbol_by_name(name)(*args, **kwargs)


def qualname(obj: Any) -> str:
    """Return `module.name` of a class or function, or of an object's class."""
    named = obj if hasattr(obj, "__name__") else type(obj)
    return f"{named.__module__}.{named.__qualname__}"


get_full_cls_name = qualname
"""An older name."""
