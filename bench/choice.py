"""What is measured of what was asked for: what is unknown is an error, what this machine lacks is left out."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import click

from bench import environments, servers
from bench.catalogue import System

T = TypeVar("T")


def choose(what: str, known: Mapping[str, T], names: Sequence[str], default: Sequence[T]) -> list[T]:
    """Return what has these names, or the default if there are none. Raises `UsageError` that says which there are."""
    for name in names:
        if name not in known:
            raise click.UsageError(f"there is no {what} {name!r}; there are: {', '.join(known)}")
    return [known[name] for name in dict.fromkeys(names)] or list(default)


def possible(chosen: Sequence[System], by_name: bool, say: Callable[[str], None]) -> list[System]:
    """Return those of the systems that can be measured here; environments that are missing are built first.

    What can not is told by `say`; where it was asked for by name, or nothing is left, the program ends with 1.
    """
    left_out: dict[str, str] = {}
    for broker in dict.fromkeys(system.broker for system in chosen):
        if servers.missing(broker):
            why = f"there is no server program of {broker} on this machine"
            left_out |= {system.name: why for system in chosen if broker in (system.broker, system.backend)}
    for library in dict.fromkeys(system.library for system in chosen if system.name not in left_out):
        if not environments.is_ready(library):
            say(f"building the environment of {library}, up to a minute")
            try:
                environments.build(library)
            except environments.EnvironmentFailed as error:
                left_out |= {system.name: str(error) for system in chosen if system.library == library}
    for name, why in left_out.items():
        say(f"{name} is left out: {why}")
    found = [system for system in chosen if system.name not in left_out]
    if left_out and (by_name or not found):
        sys.exit(1)
    return found
