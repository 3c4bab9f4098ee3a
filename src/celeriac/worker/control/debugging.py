"""Inspect commands that look for leaks of memory in the worker's core."""

from __future__ import annotations

import gc
import importlib
import tempfile
from collections import Counter, deque
from typing import Any, Final

import psutil

from celeriac.worker.control.panel import inspect_command
from celeriac.worker.control.state import ControlState

_samples: Final[deque[float]] = deque(maxlen=1000)
"""MiB of resident memory, as `memsample` saw them."""


@inspect_command(args=[])
def memsample(_state: ControlState, **_more: Any) -> str:
    """Take a sample of the memory in use, for memdump."""
    _samples.append(_resident_mib())
    return f"{_samples[-1]:.2f}MB"


@inspect_command(args=[("samples", int)], signature="[n_samples=10]")
def memdump(_state: ControlState, samples: int = 10, **_more: Any) -> str:
    """Tell the samples that memsample took, and the memory in use now."""
    taken = list(_samples)[-max(1, int(samples)) :]
    lines = [f"-> {count:3}: {sample:.2f}MB" for count, sample in enumerate(taken)]
    return "\n".join(["- rss (sample):", *lines, f"- rss (end): {_resident_mib():.2f}MB."])


@inspect_command(
    default_timeout=60.0,
    args=[("type", str), ("num", int), ("max_depth", int)],
    signature="[object_type=Request] [num=200 [max_depth=10]]",
)
def objgraph(
    _state: ControlState, num: int = 200, max_depth: int = 10, type: str = "Request", **_more: Any
) -> dict[str, Any]:
    """Draw what holds the objects of a type; without the library objgraph, count all objects by type."""
    try:
        drawing: Any = importlib.import_module("objgraph")
    except ImportError:
        count = Counter(one.__class__.__qualname__ for one in gc.get_objects())
        return {"types": dict(count.most_common(max(1, int(num))))}
    with tempfile.NamedTemporaryFile(prefix="celeriac-objgraph-", suffix=".png", delete=False) as file:
        objects = drawing.by_type(type)[: int(num)]
        drawing.show_backrefs(
            objects, max_depth=int(max_depth), highlight=lambda one: one in objects, filename=file.name
        )
        return {"filename": file.name}


def _resident_mib() -> float:
    return float(psutil.Process().memory_info().rss) / 2**20
