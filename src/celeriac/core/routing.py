"""Where a task's calls go: the routers of `task_routes`, the match of a routing key, and what a call's own options change."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import translate
from functools import lru_cache
from typing import Any, Final

from msgspec import Struct

from celeriac.core.queues import Exchange, Queue, QueueTable, as_exchange, as_queue
from celeriac.exceptions import ImproperlyConfigured

DESTINATION: Final = ("queue", "exchange", "exchange_type", "routing_key")
"""The options that decide where a message goes."""
_WORDS: Final = {"*": r"\.[^.]+", "#": r"(?:\.[^.]*)*"}


class Route(Struct, frozen=True):
    """Where a call goes."""

    queue: str
    """Empty: the exchange decides."""
    exchange: str = ""
    routing_key: str | None = None


class RouteMap:
    """A router made of a mapping: exact name first, then the first pattern that matches."""

    def __init__(self, entries: Mapping[Any, Any] | Iterable[Any], known: Sequence[str]) -> None:
        """`known`: the options that an entry may carry. Raises `ImproperlyConfigured` for an entry that cannot be one."""
        self._exact: dict[str, dict[str, Any]] = {}
        self._patterns: list[tuple[re.Pattern[str], dict[str, Any]]] = []
        for item in entries.items() if isinstance(entries, Mapping) else entries:
            try:
                key, value = item
            except (TypeError, ValueError):
                raise ImproperlyConfigured(f"task_routes: {item!r} is no pair of task name and queue") from None
            options = check_entry(value, f"task_routes: the entry for task {_shown(key)}", known)
            if isinstance(key, re.Pattern):
                self._patterns.append((key, options))
            elif any(sign in key for sign in "*?["):
                self._patterns.append((re.compile(translate(key)), options))
            else:
                self._exact[key] = options

    def find(self, name: str) -> dict[str, Any] | None:
        """Return the options for a task, None when no entry is about it."""
        found = self._exact.get(name)
        if found is not None:
            return found
        for pattern, options in self._patterns:
            if pattern.match(name):
                return options
        return None


def check_entry(value: Any, what: str, known: Sequence[str]) -> dict[str, Any]:
    """Return what a router gave as options of a call; `what` begins the error.

    Raises `ImproperlyConfigured` when it is neither a queue nor a dict of options of `apply_async`.
    """
    if isinstance(value, str) or (not isinstance(value, Mapping) and hasattr(value, "routing_key")):
        return {"queue": value}
    if not isinstance(value, Mapping):
        try:
            value = dict(value)
        except (TypeError, ValueError):
            raise ImproperlyConfigured(
                f"{what} is {value!r}; give the name of a queue, or a dict of options of apply_async"
            ) from None
    for option in value:
        if option not in known:
            near = difflib.get_close_matches(str(option), known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ImproperlyConfigured(f"{what} has an unknown option {option!r}{hint}")
    return {option: given for option, given in value.items() if given is not None}


def find_destination(options: Mapping[str, Any], base: Mapping[str, Any], table: QueueTable) -> Route:
    """Return where a call goes: by its own `options`, and by what they leave open in `base`.

    A queue or an exchange in `options` takes the place of both in `base`: half a way of each would lead nowhere.  Without any,
    it is the default queue.  Raises `QueueNotFound`, `ImproperlyConfigured`.
    """
    get = options.get
    named = get("queue")
    if isinstance(named, str) and named and get("exchange") is None:  # the commonest first
        found = table.find(named)
        if not found.is_routed:
            return Route(found.name)
    if get("queue") is None and get("exchange") is None:
        queue, exchange, kind = (
            base.get("queue"),
            base.get("exchange"),
            get("exchange_type") or base.get("exchange_type"),
        )
        key = get("routing_key") or base.get("routing_key")
    else:
        queue, exchange, kind, key = get("queue"), get("exchange"), get("exchange_type"), get("routing_key")
    declared: Queue | None = None
    if queue is not None and not (isinstance(queue, str) and not queue):
        declared = _declared(queue, table)
    way = as_exchange(exchange) if exchange else None
    if way is None or not way.name:
        declared = declared or table.find(table.default_queue)
        if declared.is_routed:
            assert declared.exchange is not None
            return Route("", declared.exchange.name, key or declared.routing_key)
        return Route(declared.name)
    way = _with_kind(way, exchange, kind, table)
    if declared is not None and not key and way.type == "direct":
        return Route(declared.name)  # as in Celery: half a way by a direct exchange is none
    return Route("", way.name, key or (declared.routing_key if declared is not None else table.default_routing_key))


def _declared(queue: Any, table: QueueTable) -> Queue:
    if isinstance(queue, str):
        return table.find(queue)
    given = as_queue(queue)
    known = table.get(given.name)
    # The same object in each call is declared once.
    return known if known is not None and known.source is queue else table.add(given, source=queue)


def _with_kind(way: Exchange, given: Any, kind: str | None, table: QueueTable) -> Exchange:
    """Return the exchange with its type: the caller's, else the declared one."""
    if kind is not None and kind != way.type:
        way = Exchange(way.name, kind)
    elif kind is None and isinstance(given, str):
        return table.exchange(way.name) or way
    if table.exchange(way.name) != way:
        table.add_exchange(way)
    return way


# -- routing keys -----------------------------------------------------------------------------------------------------


def is_match(kind: str, pattern: str, routing_key: str) -> bool:
    """Tell whether a queue bound by `pattern` to an exchange of a type gets a message with this key."""
    if kind == "fanout":
        return True
    if kind == "topic":
        return _compiled(pattern).fullmatch(f".{routing_key}" if routing_key else "") is not None
    return pattern == routing_key


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    """Return a topic pattern as an expression for a key with a dot before each word: `*` is one word, `#` any number of them."""
    return re.compile("".join(_WORDS.get(word) or re.escape("." + word) for word in pattern.split(".")))


def _shown(key: Any) -> str:
    return repr(key.pattern if isinstance(key, re.Pattern) else key)


Router = Callable[..., Any]
"""`(name, args, kwargs, options, task=None, **kw)` -> options, the name of a queue, or None: not my task."""
