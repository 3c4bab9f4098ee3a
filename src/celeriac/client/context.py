"""Which task am I in: the request of the running task, for the task itself and for what it sends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct, field

if TYPE_CHECKING:
    from celeriac.core.message import Message
    from celeriac.wire.task_v2 import Embed

OWN_HEADERS: Final = frozenset(
    {
        "lang", "task", "id", "shadow", "eta", "expires", "group", "group_index", "retries", "timelimit", "root_id",
        "parent_id", "argsrepr", "kwargsrepr", "origin", "ignore_result", "replaced_task_nesting", "stamped_headers",
        "stamps", "compression", "celeriac_crashes", "celeriac_losses",
    }
)  # fmt: skip
"""Headers that the protocol defines; what else a message carries was put there by its sender."""


class Request(Struct, kw_only=True):
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
    report: Callable[[str, Any], None] | None = None
    """Set by the executor: takes a state and its meta, and has them stored."""
    enclosing: Request | None = None
    """The request in whose run this function was called directly."""

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
    ) -> Request:
        """Return the request for a message whose body has been opened; `hostname` is the worker's node name."""
        headers = message.headers
        properties = message.properties
        return cls(
            id=message.id,
            task=message.task,
            args=args,
            kwargs=kwargs,
            retries=headers.get("retries") or 0,
            eta=headers.get("eta"),
            expires=headers.get("expires"),
            timelimit=headers.get("timelimit") or (None, None),
            group=headers.get("group"),
            group_index=headers.get("group_index"),
            root_id=headers.get("root_id"),
            parent_id=headers.get("parent_id"),
            origin=headers.get("origin"),
            shadow=headers.get("shadow"),
            reply_to=properties.get("reply_to"),
            correlation_id=properties.get("correlation_id"),
            hostname=hostname,
            delivery_info={
                "exchange": message.exchange,
                "routing_key": message.routing_key or message.queue,
                "priority": properties.get("priority"),
                "redelivered": redelivered,
            },
            headers={name: value for name, value in headers.items() if name not in OWN_HEADERS},
            properties=properties,
            called_directly=False,
            callbacks=embed.callbacks,
            errbacks=embed.errbacks,
            chain=embed.chain,
            chord=embed.chord,
            ignore_result=headers.get("ignore_result"),
            replaced_task_nesting=headers.get("replaced_task_nesting") or 0,
            stamped_headers=headers.get("stamped_headers"),
            stamps=headers.get("stamps") or {},
        )

    def get(self, name: str, default: Any = None) -> Any:
        """Return the attribute or custom header `name`, else `default`."""
        return getattr(self, name, default)


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
