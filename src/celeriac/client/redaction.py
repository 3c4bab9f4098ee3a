"""Arguments that nobody is to see: what stands in their place in texts for people, in logs and in stored results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from celeriac.exceptions import ImproperlyConfigured
from celeriac.wire.short_repr import short_repr

if TYPE_CHECKING:
    from celeriac.client.task import Task

STARS: Final = "***"
SCRUBBED_MIN_CHARS: Final = 3
"""Shorter values are not looked for in texts: they would be found everywhere."""


class Redaction:
    """Hides the values of some of a task's parameters, however they are passed. Pure, thread-safe."""

    def __init__(self, names: Sequence[str], parameters: Sequence[str], catch_all: str | None) -> None:
        """`parameters`: names of those that can be passed by position, in order; `catch_all`: that of `*args`."""
        self._names: Final = frozenset(names)
        self._positions: Final = frozenset(place for place, name in enumerate(parameters) if name in self._names)
        self._rest_from: Final = len(parameters) if catch_all in self._names else None

    def hidden(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments with stars for what is not to be seen."""
        return (
            tuple(STARS if self._hides(place) else value for place, value in enumerate(args)),
            {name: STARS if name in self._names else value for name, value in kwargs.items()},
        )

    def texts(self, args: Sequence[Any], kwargs: Mapping[str, Any], levels: int) -> tuple[str, str]:
        """Return the short texts of both that travel in headers."""
        shown_args, shown_kwargs = self.hidden(args, kwargs)
        return short_repr(shown_args, max_levels=levels), short_repr(shown_kwargs, max_levels=levels)

    def scrubbed(self, text: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
        """Return a text with stars where it quotes one of the values."""
        values = [value for place, value in enumerate(args) if self._hides(place)]
        values += [value for name, value in kwargs.items() if name in self._names]
        for value in sorted((found for one in values for found in _parts(one)), key=len, reverse=True):
            if len(value) >= SCRUBBED_MIN_CHARS:
                text = text.replace(value, STARS)
        return text

    def _hides(self, place: int) -> bool:
        return place in self._positions or (self._rest_from is not None and place >= self._rest_from)


def redaction_of(task: Task[Any, Any]) -> Redaction | None:
    """Return what hides a task's sensitive arguments, None for a task without such."""
    if not task.sensitive:
        return None
    parameters = task.binder.signature.parameters.values()
    positional = [one.name for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    catch_all = next((one.name for one in parameters if one.kind is one.VAR_POSITIONAL), None)
    named = {one.name for one in parameters if one.kind is one.VAR_KEYWORD}
    names = [name for name in task.sensitive if name not in named]
    return Redaction(names, positional, catch_all)


def as_shown(
    task: Task[Any, Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
    """Return a task's arguments as they may be shown in a text."""
    redaction = redaction_of(task)
    return (tuple(args), kwargs) if redaction is None else redaction.hidden(args, kwargs)


def check_sensitive(task: Task[Any, Any]) -> None:
    """Raise `ImproperlyConfigured` for a name of `sensitive` that is none of the task's parameters."""
    if isinstance(task.sensitive, str):
        raise ImproperlyConfigured(
            f"task {task.name!r}: sensitive takes a list of parameters, as in sensitive=({task.sensitive!r},)"
        )
    parameters = task.binder.signature.parameters
    if any(one.kind is one.VAR_KEYWORD for one in parameters.values()):
        return  # it takes keywords of any name
    for name in task.sensitive:
        if name not in parameters:
            names = ", ".join(parameters)
            raise ImproperlyConfigured(
                f"task {task.name!r}: sensitive={name!r} is none of its parameters ({names or 'it has none'})"
            )


def _parts(value: Any) -> list[str]:
    """Return the texts by which an argument might be quoted: its own, or those of the parts of a list or a mapping."""
    if isinstance(value, Mapping):
        return [text for part in value.values() for text in _parts(part)]
    if isinstance(value, list | tuple | set | frozenset):
        return [text for part in value for text in _parts(part)]
    if isinstance(value, bytes):
        return [repr(value)[2:-1]]
    if isinstance(value, str):
        return [value, repr(value)[1:-1]]
    return [str(value)] if isinstance(value, int | float) and not isinstance(value, bool) else []
