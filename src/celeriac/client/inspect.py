"""Asking workers what they do: `app.control.inspect()`."""

from __future__ import annotations

import fnmatch
import re
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from celeriac.client.requests import ReplyOf
from celeriac.exceptions import DuplicateNodenameWarning

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac


class Inspect:
    """Questions to workers; none of them changes anything.

    Each returns what the nodes replied, {node: reply}, and None when none did within the timeout; where the destination is one
    name and no list, the reply alone.  Blocking, thread-safe.  Raises `BrokerUnavailable`, and `ArgumentError` for a destination
    or a pattern that is none.

    Args:
        destination: names of nodes, as a list; None: all.
        timeout: seconds to wait for replies; where `destination` names the nodes, no longer than the last of them takes.
        callback: called with each reply, {node: reply}, as it comes in.
        limit: so many replies are enough.
        pattern, matcher: the nodes whose names match, as `glob` or `pcre`.
        connection: accepted for Celery's sake.
    """

    def __init__(
        self,
        destination: str | Sequence[str] | None = None,
        timeout: float = 1.0,
        callback: Callable[[ReplyOf], object] | None = None,
        connection: object = None,
        app: Celeriac | None = None,
        limit: int | None = None,
        pattern: str | None = None,
        matcher: str | None = None,
    ) -> None:
        assert app is not None, "made by app.control.inspect()"
        self.app = app
        self.destination = destination
        self.timeout = timeout
        self.callback = callback
        self.limit = limit
        self.pattern = pattern
        self.matcher = matcher

    def active(self, safe: bool | None = None) -> Any:
        """Return the tasks that run."""
        return self._request("active", safe=safe)

    def reserved(self, safe: bool | None = None) -> Any:
        """Return the tasks that were claimed and have not begun."""
        return self._request("reserved")

    def scheduled(self, safe: bool | None = None) -> Any:
        """Return the tasks that wait for their time in a worker's memory; ours wait in the broker."""
        return self._request("scheduled")

    def registered(self, *taskinfoitems: str) -> Any:
        """Return the names of the tasks that can be run, each with those of its attributes that are named here."""
        return self._request("registered", taskinfoitems=list(taskinfoitems))

    registered_tasks = registered

    def stats(self) -> Any:
        """Return figures about each worker: its broker, its executors, how many tasks it has run."""
        return self._request("stats")

    def active_queues(self) -> Any:
        """Return the queues that are read."""
        return self._request("active_queues")

    def revoked(self) -> Any:
        """Return the ids of revoked tasks."""
        return self._request("revoked")

    def query_task(self, *ids: str | Iterable[str]) -> Any:
        """Return what is known of tasks by their ids, given one by one or as one list: {id: [state, record]}."""
        first = ids[0] if len(ids) == 1 else ids
        return self._request("query_task", ids=[first] if isinstance(first, str) else list(first))

    def conf(self, with_defaults: bool = False) -> Any:
        """Return the settings, passwords masked; with `with_defaults` also those that nobody has changed."""
        return self._request("conf", with_defaults=with_defaults)

    def clock(self) -> Any:
        """Return the logical clocks."""
        return self._request("clock")

    def report(self) -> Any:
        """Return what a report of a bug should say."""
        return self._request("report")

    def hello(self, from_node: str, revoked: Iterable[str] | Mapping[str, Any] | None = None) -> Any:
        """Say that a node is there, and return what the others have revoked; workers ask it at their start."""
        told = revoked if revoked is None or isinstance(revoked, Mapping) else list(revoked)
        return self._request("hello", from_node=from_node, revoked=told)

    def memsample(self) -> Any:
        """Take a sample of the memory in use, and return it."""
        return self._request("memsample")

    def memdump(self, samples: int = 10) -> Any:
        """Return what the samples say."""
        return self._request("memdump", samples=samples)

    def objgraph(self, type: str = "Request", n: int = 200, max_depth: int = 10) -> Any:
        """Have a graph of objects drawn, where the worker can do that, and return the name of the file."""
        return self._request("objgraph", num=n, max_depth=max_depth, type=type)

    def ping(self, destination: str | Sequence[str] | None = None) -> Any:
        """Return who is there; `destination` stands for that of the object, from now on."""
        if destination:
            self.destination = destination
        return self._request("ping")

    def _request(self, command: str, **arguments: Any) -> Any:
        """Ask a command of the program's own, or of a newer worker."""
        one = self.destination if isinstance(self.destination, str) else None
        replies = self.app.control.broadcast(
            command,
            arguments=arguments,
            destination=[one] if one is not None else self.destination,
            callback=self.callback,
            timeout=self.timeout,
            limit=self.limit,
            reply=True,
            pattern=self.pattern,
            matcher=self.matcher,
        )
        if not replies:
            return None
        by_node = flatten_reply(replies)
        if one is not None:
            return by_node.get(one)
        if self.pattern is not None:
            return {node: reply for node, reply in by_node.items() if is_match(node, self.pattern, self.matcher)}
        return by_node


def flatten_reply(replies: Iterable[ReplyOf]) -> ReplyOf:
    """Return replies as one dict; where two nodes have the same name, the last counts, and a warning says so."""
    by_node: ReplyOf = {}
    twice: set[str] = set()
    for reply in replies:
        twice |= by_node.keys() & reply.keys()
        by_node |= reply
    if twice:
        warnings.warn(
            DuplicateNodenameWarning(
                f"several workers replied as {', '.join(sorted(twice))}: give each a name of its own (celeriac worker -n NAME)"
            ),
            stacklevel=4,
        )
    return by_node


def is_match(node: str, pattern: str, matcher: str | None) -> bool:
    """Tell whether a node's name matches a pattern: of a shell (`glob`), or an expression from its beginning (`pcre`)."""
    if matcher == "pcre":
        return re.match(pattern, node) is not None
    return fnmatch.fnmatchcase(node, pattern)
