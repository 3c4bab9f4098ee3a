"""Where the names of an answered module come from: the rows of the tables."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct


class Source(Struct, frozen=True):
    """One module of Celery's, kombu's or billiard's."""

    modules: tuple[str, ...] = ()
    """Modules of ours: what they have under a public name, it has under the same."""
    names: Mapping[str, str] = {}
    """More of its names, each with the object that it stands for: `module:attribute`, or a module alone."""
    missing: Mapping[str, str] = {}
    """Names that it has not, each with what to do instead."""


def of(*modules: str, names: Mapping[str, str] | None = None, missing: Mapping[str, str] | None = None) -> Source:
    """Return a row of a table."""
    return Source(modules, names or {}, missing or {})


def from_one(module: str, *names: str) -> dict[str, str]:
    """Return entries for names that a module of ours has under the same."""
    return {name: f"{module}:{name}" for name in names}
