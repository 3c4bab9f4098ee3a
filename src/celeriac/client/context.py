"""Which task am I in: the request of the running task, for the task itself and for what it sends."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct, field

from celeriac.wire.task_v2 import NOTHING_FOLLOWS, Embed

if TYPE_CHECKING:
    from celeriac.core.message import Message

OWN_HEADERS: Final = frozenset(
    {
        "lang", "task", "id", "shadow", "eta", "expires", "group", "group_index", "retries", "timelimit", "root_id",
        "parent_id", "argsrepr", "kwargsrepr", "origin", "ignore_result", "replaced_task_nesting", "stamped_headers",
        "stamps", "compression", "celeriac_crashes", "celeriac_losses", "celeriac_unique",
        "celeriac_rate_limit_key", "celeriac_max_concurrency_key", "celeriac_slot", "celeriac_signature",
        "celeriac_sensitive",
    }
)  # fmt: skip
"""Headers that the protocol defines; what else a message carries was put there by its sender."""
_IN_EACH: Final = frozenset(
    {"lang", "task", "id", "retries", "root_id", "parent_id", "argsrepr", "kwargsrepr", "origin", "ignore_result"}
)
_IN_SOME: Final = frozenset(
    {"shadow", "eta", "expires", "group", "group_index", "replaced_task_nesting", "stamped_headers", "stamps"}
)
"""Headers that stand in a request as they are, if they say anything."""


class Request(Struct, kw_only=True, dict=True):
    """What a task may know about the call that it runs for: `self.request`, with Celery's names."""

    id: str = ""
    """Empty when the function was called directly."""
    task: str = ""
    args: Sequence[Any] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    retries: int = 0
    eta: str | None = None
    """ISO 8601, as it stands in the message."""
    expires: str | None = None
    """ISO 8601, as it stands in the message."""
    timelimit: Sequence[float | None] = (None, None)
    """Seconds: hard limit, soft limit."""
    group: str | None = None
    group_index: int | None = None
    root_id: str | None = None
    parent_id: str | None = None
    origin: str | None = None
    shadow: str | None = None
    reply_to: str | None = None
    correlation_id: str | None = None
    hostname: str | None = None
    """The worker's node name."""
    queue: str | None = None
    """The queue that the message came from."""
    delivery_info: dict[str, Any] = field(default_factory=dict)
    """exchange, routing_key, priority, redelivered."""
    headers: dict[str, Any] = field(default_factory=dict)
    """The caller's own headers; each can also be read as an attribute of the request."""
    properties: dict[str, Any] = field(default_factory=dict)
    is_eager: bool = False
    called_directly: bool = True
    callbacks: list[dict[str, Any]] | None = None
    errbacks: list[dict[str, Any]] | None = None
    chain: list[dict[str, Any]] | None = None
    """What is left of the chain, last step first."""
    chord: dict[str, Any] | None = None
    ignore_result: bool | None = False
    replaced_task_nesting: int = 0
    stamped_headers: list[str] | None = None
    stamps: dict[str, Any] = field(default_factory=dict)
    utc: bool = True
    children: list[Any] = field(default_factory=list)
    """Result tuples of what this task has sent."""
    added_to_chord: list[Any] = field(default_factory=list)
    """Plans of the members that this task has added to its chord."""
    report: Callable[[str, Any], None] | None = None
    """Set by the executor: takes a state and its meta, and has them stored."""
    enclosing: Request | None = None
    """The request in whose run this function was called directly."""
    owner: Any = None
    """The task whose function runs."""
    in_own_call: bool = False
    """While a class's own `__call__` has not called on yet."""
    logfile: str | None = None
    loglevel: int | None = None
    argsrepr: str = ""
    kwargsrepr: str = ""
    lang: str = "py"

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            try:
                return self.headers[name]
            except KeyError:
                raise AttributeError(f"the request has no attribute and no header {name!r}") from None

    @classmethod
    def from_message(
        cls,
        message: Message,
        args: Sequence[Any],
        kwargs: dict[str, Any],
        embed: Embed,
        *,
        hostname: str,
        redelivered: bool,
        priority_of: Callable[[int], int] | None = None,
    ) -> Request:
        """Return the request for a message whose body has been opened; `hostname` is the worker's node name.

        `priority_of` gives the number that calls use for the one in the message.
        """
        headers = message.headers
        properties = message.properties
        said = headers.get
        priority = properties.get("priority")
        if priority_of is not None and isinstance(priority, int):
            priority = priority_of(priority)
        request = cls(
            id=message.id,
            task=message.task,
            args=args,
            kwargs=kwargs,
            retries=said("retries") or 0,
            root_id=said("root_id"),
            parent_id=said("parent_id"),
            origin=said("origin"),
            reply_to=properties.get("reply_to"),
            correlation_id=properties.get("correlation_id"),
            hostname=hostname,
            queue=message.queue,
            delivery_info={
                "exchange": message.exchange,
                "routing_key": message.routing_key or message.queue,
                "priority": priority,
                "redelivered": redelivered,
            },
            properties=properties,
            argsrepr=said("argsrepr") or "",
            kwargsrepr=said("kwargsrepr") or "",
            lang=said("lang") or "py",
            called_directly=False,
            ignore_result=said("ignore_result"),
        )
        if more := headers.keys() - _IN_EACH:
            request._take_in(headers, more)
        if embed is not NOTHING_FOLLOWS:
            request.callbacks, request.errbacks = embed.callbacks, embed.errbacks
            request.chain, request.chord = embed.chain, embed.chord
        return request

    def _take_in(self, headers: dict[str, Any], names: Set[str]) -> None:
        """Note what only some messages say."""
        for name in names & _IN_SOME:
            if headers[name] is not None:
                setattr(self, name, headers[name])
        self.timelimit = headers.get("timelimit") or (None, None)
        self.headers = {name: headers[name] for name in names - OWN_HEADERS}

    @property
    def name(self) -> str:
        """The task's name, as signals' `request` calls it."""
        return self.task

    task_name = name

    @property
    def task_id(self) -> str:
        """The task's id, as signals' `request` calls it."""
        return self.id

    @property
    def taskset(self) -> str | None:
        """An older name of `group`."""
        return self.group

    @property
    def time_limit(self) -> float | None:
        """The hard limit of this very call in seconds; None: the task's own."""
        return self.timelimit[0]

    @property
    def soft_time_limit(self) -> float | None:
        """The soft limit of this very call in seconds; None: the task's own."""
        return self.timelimit[1]

    def get(self, name: str, default: Any = None) -> Any:
        """Return the attribute or custom header `name`, else `default`."""
        return getattr(self, name, default)

    def update(self, said: Mapping[str, Any] | None = None, /, **fields: Any) -> None:
        """Set several attributes, for tests and for base classes that carry something from step to step."""
        for name, value in {**(said or {}), **fields}.items():
            if name in self.__struct_fields__:
                setattr(self, name, value)
            else:
                self.headers = {**self.headers, name: value}

    def as_execution_options(self) -> dict[str, Any]:
        """Return the options of a call that would be like this one."""
        hard_s, soft_s = self.timelimit
        options = {
            "task_id": self.id or None,
            "root_id": self.root_id,
            "parent_id": self.parent_id,
            "group_id": self.group,
            "group_index": self.group_index,
            "shadow": self.shadow,
            "chord": self.chord,
            "chain": self.chain,
            "link": self.callbacks,
            "link_error": self.errbacks,
            "expires": self.expires,
            "time_limit": hard_s,
            "soft_time_limit": soft_s,
            "headers": dict(self.headers) or None,
            "retries": self.retries,
            "reply_to": self.reply_to,
            "ignore_result": self.ignore_result,
            "replaced_task_nesting": self.replaced_task_nesting,
            "queue": self.queue or self.delivery_info.get("routing_key"),
            "priority": self.delivery_info.get("priority"),
        }
        names = [name for name in self.stamped_headers or () if name in self.stamps]
        stamps = {name: self.stamps[name] for name in names if name not in OWN_HEADERS and name not in options}
        return {**options, "stamped_headers": list(stamps), **stamps} if stamps else options

    @property
    def execution_options(self) -> dict[str, Any]:
        """Another name of `as_execution_options()`."""
        return self.as_execution_options()


current_request: ContextVar[Request | None] = ContextVar("celeriac_current_request", default=None)
"""The request of the function that runs in this context; None outside of any task."""


def running_request() -> Request | None:
    """Return the request of the task that runs here, whatever functions of other tasks it has called directly."""
    request = current_request.get()
    while request is not None and request.called_directly:
        request = request.enclosing
    return request


def result_tuple(task_id: str, parent: list[Any] | None = None) -> list[Any]:
    """Return Celery's tuple form of a task's result; `parent` is such a tuple too."""
    return [[task_id, parent], None]
