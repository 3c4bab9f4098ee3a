"""The arguments of one call among many, as `delay_many` takes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from celeriac.client.canvas.signature import Signature

if TYPE_CHECKING:
    from celeriac.client.task import Task

Arguments = tuple[Any, ...] | list[Any] | Mapping[str, Any]
"""Of one call among many: those by position, or those with names."""

NOTHING: Final[Mapping[str, Any]] = {}


def arguments_of(task: Task[Any, Any], given: Any) -> tuple[Sequence[Any], Mapping[str, Any]]:
    """Return positional and keyword arguments of a call as `delay_many` takes it. Raises `TypeError`."""
    match given:
        case tuple() | list():
            return given, NOTHING
        case Signature():
            hint = "a signature is sent by app.send_many(...)"
        case Mapping():
            return (), given
        case _:
            hint = f"for one argument write ({given!r:.80},)"
    raise TypeError(
        f"{task.name}.delay_many() takes for each call a tuple of arguments, or a dict of those with names, not {given!r:.80}: {hint}"
    )
