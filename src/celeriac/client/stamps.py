"""Stamps of a call: named values that travel with it, by which it can be revoked. Pure.

In a signature they stand among the options, as Celery has it: each under its name, and the names in `stamped_headers`.  In a message
they have a header of their own, `stamps`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from celeriac.client.context import OWN_HEADERS, Request
from celeriac.client.options import CALL_OPTIONS, FOREIGN_CALL_OPTIONS
from celeriac.exceptions import ArgumentError

NAMES: Final = "stamped_headers"
"""The option, and the header, that lists the names of stamps."""
STAMPS: Final = "stamps"

_OF_CALLS: Final = frozenset({"args", "kwargs", *CALL_OPTIONS, *FOREIGN_CALL_OPTIONS})
_TAKEN: Final = OWN_HEADERS | _OF_CALLS

Options = Mapping[str, Any]


def checked_names(names: Any, where: str) -> list[str]:
    """Return names of stamps as a list, each once.

    Raises `TypeError` for what is no list of names, `ArgumentError` for a name that means something else already.
    """
    if isinstance(names, set | frozenset):
        names = sorted(names, key=repr)
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) and name for name in names):
        raise TypeError(f"{where}: {NAMES} is a list of the names of stamps, not {names!r:.200}")
    for name in names:
        if name in OWN_HEADERS:
            raise ArgumentError(
                f"{where}: {name!r} can't be a stamp, because it belongs to the message protocol; choose another name"
            )
        if name in _OF_CALLS:
            raise ArgumentError(
                f"{where}: {name!r} can't be a stamp, because it is an option of calls; choose another name"
            )
    return list(dict.fromkeys(names))


def plain_value(value: Any) -> Any:
    """Return a stamp's value as it is written: sets and tuples become lists."""
    if isinstance(value, set | frozenset):
        return sorted(value, key=repr)
    return list(value) if isinstance(value, tuple) else value


def take_stamps(task_name: str, options: Options) -> tuple[Options, dict[str, Any]]:
    """Return the options of a call without its stamps, and these.

    They come from `stamped_headers=["tenant"], tenant="acme"`, or from `headers` that hold `stamped_headers` and `stamps`.  Raises
    `ArgumentError`, `TypeError` for a name that can't be a stamp's, and for one without a value.
    """
    headers = options.get("headers")
    in_headers = isinstance(headers, Mapping) and NAMES in headers
    if not options.get(NAMES) and not in_headers:
        return ({n: v for n, v in options.items() if n != NAMES} if NAMES in options else options), {}
    where = f"calling task {task_name!r}"
    rest = dict(options)
    stamps: dict[str, Any] = {}
    if in_headers:
        assert headers is not None
        rest["headers"] = {name: value for name, value in headers.items() if name not in (NAMES, STAMPS)}
        stamps = _from_headers(headers, where)
    for name in checked_names(rest.pop(NAMES, None) or [], where):
        if name not in rest:
            raise ArgumentError(f"{where}: {NAMES} names {name!r}, but there is no such stamp; write {name}=...")
        stamps[name] = plain_value(rest.pop(name))
    return rest, stamps


def carried(options: Options, known: Iterable[str]) -> dict[str, Any]:
    """Return what a worker makes of the options in a signature that came in a message: those that exist, and stamps as headers.

    Whatever another program has stamped goes on, and what it has said wrong stops nothing: a name without a value is left out.
    """
    taken = {name: options[name] for name in known if name in options}
    names = taken.pop(NAMES, None)
    if not isinstance(names, list | tuple):
        return taken
    stamps = {name: options[name] for name in names if isinstance(name, str) and name in options}
    if stamps:
        taken["headers"] = {**(taken.get("headers") or {}), NAMES: list(stamps), STAMPS: stamps}
    return taken


def stamps_of(request: Request) -> dict[str, Any]:
    """Return the stamps of the running call, whatever another program has made of them."""
    names, stamps = request.stamped_headers, request.stamps
    if not isinstance(names, list | tuple) or not isinstance(stamps, Mapping):
        return {}
    return {name: stamps[name] for name in names if isinstance(name, str) and name in stamps}


def with_stamps(signature: Mapping[str, Any], stamps: Options) -> dict[str, Any]:
    """Return a plain signature whose calls have these stamps, besides those of their own; links are no part of it."""
    kwargs = signature.get("kwargs") or {}
    match signature.get("subtask_type"):
        case "chain" | "group":
            parts: dict[str, Any] = {"tasks": [with_stamps(task, stamps) for task in kwargs.get("tasks") or ()]}
        case "chord":
            header, body = kwargs.get("header"), kwargs.get("body")
            parts = {"body": None if body is None else with_stamps(body, stamps)}
            if isinstance(header, Mapping):
                parts["header"] = with_stamps(header, stamps)
            else:
                parts["header"] = [with_stamps(task, stamps) for task in header or ()]
        case _:
            more = {name: value for name, value in stamps.items() if name not in _TAKEN}
            own = signature.get("options") or {}
            options = together({**more, NAMES: list(more)}, own) if more else dict(own)
            return {**signature, "options": options}
    return {**signature, "kwargs": {**kwargs, **parts}}


def together(own: Options, more: Options) -> dict[str, Any]:
    """Return options with others put over them; the stamps of both stay, each with its last value."""
    merged = {**own, **more}
    if own.get(NAMES) and more.get(NAMES):
        merged[NAMES] = list(dict.fromkeys((*own[NAMES], *more[NAMES])))
    return merged


def _from_headers(headers: Options, where: str) -> dict[str, Any]:
    """Return the stamps among a caller's headers. There every name will do, because the values stand apart."""
    names, values = headers[NAMES] or [], headers.get(STAMPS) or {}
    if isinstance(names, str) or not isinstance(names, Iterable) or not isinstance(values, Mapping):
        raise TypeError(
            f"{where}: among headers, {NAMES} is a list of names and {STAMPS} a dict, not {names!r:.80}, {values!r:.80}"
        )
    stamps = {}
    for name in names:
        if name not in values and name not in headers:
            raise ArgumentError(f"{where}: {NAMES} names {name!r}, but there is no such stamp among {STAMPS}")
        stamps[name] = plain_value(values[name] if name in values else headers[name])
    return stamps
