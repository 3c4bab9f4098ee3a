"""All that is answered, and what is said of the rest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from celeriac.compat import celery_modules, kombu_modules
from celeriac.compat.source import Source

MODULES: Final[Mapping[str, Source]] = {**celery_modules.MODULES, **kombu_modules.MODULES}
INSTEAD: Final[Mapping[str, str]] = {**celery_modules.INSTEAD, **kombu_modules.INSTEAD}
PACKAGES: Final = frozenset(name.partition(".")[0] for name in MODULES)


def is_ours(name: str) -> bool:
    """Tell whether a module of this name is answered or refused here."""
    return name.partition(".")[0] in PACKAGES


def instead_of(name: str) -> str | None:
    """Return what to use instead of a module or a name in one; None when nothing is known about it."""
    module, _, attribute = name.rpartition(".")
    source = MODULES.get(module)
    if source is not None and attribute in source.missing:
        return source.missing[attribute]
    while name:
        if name in INSTEAD:
            return INSTEAD[name]
        name = name.rpartition(".")[0]
    return None
