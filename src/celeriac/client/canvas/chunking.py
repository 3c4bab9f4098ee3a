"""Iterables in pieces: what `chunks` makes of one. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Final

from celeriac.client.canvas.nodes import CallNode

MAP: Final = "celery.map"
STARMAP: Final = "celery.starmap"
CHUNKS: Final = "celery.chunks"


def chunks_of(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """Yield the items in lists of `size`, the last one with what is left. Raises `ValueError` for a size below 1."""
    if size < 1:
        raise ValueError(f"chunks need a size of at least 1, not {size!r}")
    rest = iter(items)
    while piece := list(islice(rest, size)):
        yield piece


def starmap_call(task: Mapping[str, Any], items: list[Any]) -> CallNode:
    """Return the call that calls a task for each of the items, which are lists of arguments."""
    return CallNode(STARMAP, kwargs={"task": task, "it": items}, immutable=True)
