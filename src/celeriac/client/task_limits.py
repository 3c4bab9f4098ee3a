"""The limits of a task: what the worker has to heed, and the headers by which they tell its calls apart."""

from __future__ import annotations

import enum
import inspect
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from celeriac.core.headers import MAX_CONCURRENCY_KEY, RATE_LIMIT_KEY
from celeriac.core.rates import interval_of
from celeriac.exceptions import ArgumentError, ImproperlyConfigured

if TYPE_CHECKING:
    from celeriac.client.arguments import Binder
    from celeriac.client.options import LimitKey
    from celeriac.client.task import Task

KEY_MAX_CHARACTERS: Final = 200
"""A longer key travels as its digest."""

LimitHeaders = Callable[[Sequence[Any], Mapping[str, Any]], dict[str, str]]
"""From a call's arguments to headers."""

_PLAIN: Final = (str, int, float, bool, uuid.UUID)


class TaskLimits(Struct, frozen=True):
    """What holds for the calls of one task."""

    interval_s: float | None
    """Seconds between two starts; None: no rate."""
    per_worker: bool
    """The rate holds for each worker by itself."""
    rate_keyed: bool
    max_concurrency: int | None
    permits_keyed: bool
    of_group: bool = False
    """The permits are those of the group that the call belongs to."""


def make_limits(task: Task[Any, Any]) -> TaskLimits | None:
    """Return a task's limits; None if it has none, not even one that a rate set at run time would need to know.

    Raises `ImproperlyConfigured` for a rate that can't be read.
    """
    try:
        interval_s = interval_of(task.rate_limit)
    except ValueError as error:
        raise ImproperlyConfigured(f"task {task.name!r}: rate limit {error}") from None
    per_worker, rate_keyed = task.rate_limit_scope == "worker", task.rate_limit_key is not None
    if interval_s is None and task.max_concurrency is None and not per_worker and not rate_keyed:
        return None
    return TaskLimits(interval_s, per_worker, rate_keyed, task.max_concurrency, task.max_concurrency_key is not None)


def check_limit_keys(task: Task[Any, Any]) -> None:
    """Raise `ImproperlyConfigured` for a key that names no parameter, or that no limit uses."""
    for option, key, limit in (
        ("rate_limit_key", task.rate_limit_key, "rate_limit"),
        ("max_concurrency_key", task.max_concurrency_key, "max_concurrency"),
    ):
        if isinstance(key, str) and key not in task.binder.signature.parameters:
            names = ", ".join(task.binder.signature.parameters)
            raise ImproperlyConfigured(
                f"task {task.name!r}: {option}={key!r} is none of its parameters ({names or 'it has none'})"
            )
        if option == "max_concurrency_key" and key is not None and task.max_concurrency is None:
            raise ImproperlyConfigured(f"task {task.name!r}: {option} needs {limit}: how many for each key?")


def limit_headers_of(task: Task[Any, Any]) -> LimitHeaders | None:
    """Return what makes the headers of this task's calls, None if its limits know no keys."""
    keys = [
        (header, option, key)
        for header, option, key in (
            (RATE_LIMIT_KEY, "rate_limit_key", task.rate_limit_key),
            (MAX_CONCURRENCY_KEY, "max_concurrency_key", task.max_concurrency_key),
        )
        if key is not None
    ]
    if not keys:
        return None
    name, binder = task.name, task.binder

    def make(args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, str]:
        return {header: _key_of(name, binder, option, key, args, kwargs) for header, option, key in keys}

    return make


def _key_of(
    task_name: str, binder: Binder, option: str, key: LimitKey, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> str:
    try:
        bound = binder.signature.bind(*args, **kwargs)
    except TypeError:
        return ""  # a call that does not fit: whoever opens it says so
    bound.apply_defaults()
    if isinstance(key, str):
        value = bound.arguments[key]
    else:
        try:
            value = key(*bound.args, **_wanted(key, bound.kwargs))
        except Exception as error:  # whatever the program's function does, the call is what can't be made
            raise ArgumentError(
                f"calling task {task_name!r}: its {option} raised {type(error).__name__}: {error}"
            ) from error
    text = _text_of(value)
    if text is None:
        raise ArgumentError(
            f"calling task {task_name!r}: its {option} gives {value!r:.80}, which is no key: a text, a number, a UUID, an"
            " enum, None, or a tuple of these is wanted"
        )
    if len(text) <= KEY_MAX_CHARACTERS:
        return text
    import hashlib  # OpenSSL: 3 ms and 4 MB that programs without it do not need

    return hashlib.sha256(text.encode()).hexdigest()


def _wanted(key: Callable[..., Any], keywords: dict[str, Any]) -> dict[str, Any]:
    """Return those keyword-only arguments that a key's function takes: `lambda tenant, *_: tenant` has no use for others."""
    if not keywords:
        return keywords
    parameters = inspect.signature(key).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return keywords
    return {name: value for name, value in keywords.items() if name in parameters}


def _text_of(value: Any) -> str | None:
    if value is None:
        return ""
    if isinstance(value, enum.Enum):
        value = value.value
    if isinstance(value, tuple):
        parts = [_text_of(part) for part in value]
        return None if None in parts else "\x1f".join(part or "" for part in parts)
    return str(value) if isinstance(value, _PLAIN) else None
