"""Where settings come from, one layer upon the other: what is given later in the list stands before what is given earlier."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

ADDED: Final = "added defaults"
SOURCE: Final = "source"
CODE: Final = "code"
ENVIRONMENT: Final = "environment"
COMMAND: Final = "command line"
LAYERS: Final = (ADDED, SOURCE, CODE, ENVIRONMENT, COMMAND)
"""Below all of them are the profile and the defaults."""


class Given(NamedTuple):
    """One value, and who gave it."""

    value: Any
    origin: str


Layers = Mapping[str, Mapping[str, Given]]


def merge(layers: Layers, names: Iterable[str] = LAYERS) -> dict[str, Given]:
    """Return what is in force of these layers."""
    merged: dict[str, Given] = {}
    for layer in names:
        merged.update(layers.get(layer, {}))
    return merged
