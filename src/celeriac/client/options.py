"""The options of tasks and of calls: their names, types and units, and the errors for those that do not exist."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, Final, Literal, TypedDict

import msgspec
from msgspec import Meta, Struct

from celeriac.client.as_celery import as_celery
from celeriac.client.content import check_compression
from celeriac.core.queues import Exchange, Queue
from celeriac.core.rates import Rate, interval_of
from celeriac.core.unique import Unique, as_unique
from celeriac.exceptions import ImproperlyConfigured

Seconds = Annotated[float, Meta(gt=0)]
SecondsOrNone = Annotated[float, Meta(ge=0)]
Count = Annotated[int, Meta(ge=0)]
Kind = Literal["process", "thread", "async"]

SignatureLike = Mapping[str, Any]
Link = SignatureLike | Sequence[SignatureLike] | None

Backoff = bool | int | float
Scope = Literal["cluster", "worker"]
LimitKey = str | Callable[..., Any]
"""The name of a parameter, or a function of the call's arguments."""


class TaskOptions(TypedDict, total=False):
    """What `@app.task(...)` takes besides `name`, `bind` and `base`; Celery's names, times in seconds."""

    executor: Kind
    atomic: bool | str
    autoretry_for: type[BaseException] | Sequence[type[BaseException]]
    dont_autoretry_for: type[BaseException] | Sequence[type[BaseException]]
    throws: type[BaseException] | Sequence[type[BaseException]]
    max_retries: int | None
    default_retry_delay: float | timedelta
    retry_backoff: Backoff
    retry_backoff_max: float | timedelta
    retry_jitter: bool
    retry_kwargs: Mapping[str, Any]
    ignore_result: bool
    store_errors_even_if_ignored: bool
    store_eager_result: bool
    acks_late: bool
    acks_on_failure_or_timeout: bool
    acks_on_failure: bool | None
    acks_on_timeout: bool | None
    reject_on_worker_lost: bool
    retry_on_worker_lost: bool
    trail: bool
    send_events: bool
    resultrepr_maxsize: int
    shadow_name: Callable[..., str | None]
    time_limit: float | timedelta | None
    soft_time_limit: float | timedelta | None
    queue: str | None
    exchange: str | None
    routing_key: str | None
    priority: int | None
    serializer: str
    compression: str | None
    validate: bool
    pydantic: bool
    pydantic_strict: bool
    pydantic_context: Mapping[str, Any] | None
    pydantic_dump_kwargs: Mapping[str, Any] | None
    typing: bool
    track_started: bool
    expires: float | datetime | timedelta | None
    unique: bool | Unique | None
    rate_limit: Rate
    rate_limit_key: LimitKey | None
    rate_limit_scope: Scope
    max_concurrency: int | None
    max_concurrency_key: LimitKey | None
    sensitive: Sequence[str]


TASK_OPTIONS: Final = tuple(TaskOptions.__annotations__)
EXCEPTION_OPTIONS: Final = ("autoretry_for", "dont_autoretry_for", "throws")
SECONDS_OPTIONS: Final = ("default_retry_delay", "retry_backoff_max", "time_limit", "soft_time_limit")


class CallOptions(TypedDict, total=False):
    """What `apply_async` takes besides `args` and `kwargs`; Celery's names, times in seconds."""

    countdown: float | None
    eta: datetime | None
    expires: float | datetime | timedelta | str | None
    unique: bool | Unique | None
    queue: str | Queue | None
    exchange: str | Exchange | None
    exchange_type: str | None
    routing_key: str | None
    priority: int | None
    task_id: str | None
    headers: Mapping[str, Any] | None
    retry: bool
    retry_policy: Mapping[str, Any] | None
    ignore_result: bool | None
    link: Link
    link_error: Link
    time_limit: float | None
    soft_time_limit: float | None
    shadow: str | None
    serializer: str | None
    compression: str | None
    reply_to: str | None
    add_to_parent: bool
    root_id: str | None
    parent_id: str | None
    group_id: str | None
    group_index: int | None
    chain: Sequence[SignatureLike] | None
    chord: SignatureLike | None
    retries: int
    replaced_task_nesting: int
    delivery_mode: int | None
    stamped_headers: Collection[str] | None
    argsrepr: str | None
    kwargsrepr: str | None


CALL_OPTIONS: Final = tuple(CallOptions.__annotations__)
_CALL_OPTIONS: Final = frozenset(CALL_OPTIONS)
FOREIGN_CALL_OPTIONS: Final = frozenset({"producer", "connection", "publisher", "router", "mandatory", "immediate"})
"""Options of Celery that reach into its own machinery."""


class _CheckedTask(Struct, kw_only=True):
    """The types of the task options that a schema can check."""

    executor: Kind = "process"
    atomic: bool | Annotated[str, Meta(min_length=1)] = False
    max_retries: Count | None = None
    default_retry_delay: SecondsOrNone = 0
    retry_backoff: bool | SecondsOrNone = False
    retry_backoff_max: Seconds = 1
    retry_jitter: bool = True
    retry_kwargs: dict[str, Any] = {}
    ignore_result: bool = False
    store_errors_even_if_ignored: bool = False
    store_eager_result: bool = False
    acks_late: bool = True
    acks_on_failure_or_timeout: bool = True
    acks_on_failure: bool | None = None
    acks_on_timeout: bool | None = None
    reject_on_worker_lost: bool = True
    retry_on_worker_lost: bool = False
    trail: bool = True
    send_events: bool = True
    resultrepr_maxsize: Count = 1024
    time_limit: Seconds | None = None
    soft_time_limit: Seconds | None = None
    queue: Annotated[str, Meta(min_length=1)] | None = None
    exchange: Annotated[str, Meta(min_length=1)] | None = None
    routing_key: str | None = None
    priority: Annotated[int, Meta(ge=0, le=255)] | None = None
    serializer: str = "json"
    validate: bool = False
    pydantic: bool = False
    pydantic_strict: bool = False
    pydantic_context: dict[str, Any] | None = None
    pydantic_dump_kwargs: dict[str, Any] | None = None
    typing: bool = True
    track_started: bool = False
    rate_limit_scope: Scope = "cluster"
    max_concurrency: Annotated[int, Meta(ge=1)] | None = None


_CHECKED: Final = frozenset(_CheckedTask.__struct_fields__)


def nearest(name: str, known: Collection[str]) -> str:
    """Return `; did you mean 'x'?` for the known name that is nearest, empty when none is near."""
    near = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def check_task_option_names(task_name: str, options: Collection[str], extra: Callable[[str], bool]) -> None:
    """Raise `ImproperlyConfigured` for an option that does not exist; `extra` tells those that the base class adds."""
    for name in () if as_celery.is_on else options:
        if name not in TASK_OPTIONS and not extra(name):
            raise ImproperlyConfigured(
                f"task {task_name!r}: unknown option {name!r}{nearest(name, (*TASK_OPTIONS, 'name', 'bind', 'base'))}"
            )


def check_task_options(task_name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options in their final form: times as seconds, exception classes as tuples.

    Raises `ImproperlyConfigured` that names the task and the option whose value is wrong.
    """
    checked = dict(options)
    for name, value in options.items():
        if name in SECONDS_OPTIONS and isinstance(value, timedelta):
            checked[name] = value.total_seconds()
        elif name == "compression":
            check_compression(f"task {task_name!r}: option compression", value)
        elif name == "unique":
            checked[name] = as_unique(task_name, value)
        elif name == "rate_limit":
            _check_rate(task_name, value)
        elif name in ("rate_limit_key", "max_concurrency_key") and not (value is None or _is_key(value)):
            raise ImproperlyConfigured(
                f"task {task_name!r}: {name} takes the name of a parameter or a function of the arguments, not {value!r}"
            )
        elif name in EXCEPTION_OPTIONS:
            checked[name] = _exception_classes(task_name, name, value)
        if name in _CHECKED:
            try:
                msgspec.convert({name: checked[name]}, _CheckedTask)
            except msgspec.ValidationError as error:
                raise ImproperlyConfigured(f"task {task_name!r}: option {name}={value!r}: {error}") from None
    for name in checked.get("retry_kwargs") or ():
        if name not in ("max_retries", "countdown"):
            raise ImproperlyConfigured(
                f"task {task_name!r}: retry_kwargs may hold max_retries and countdown, not {name!r}"
            )
    soft, hard = checked.get("soft_time_limit"), checked.get("time_limit")
    if soft is not None and hard is not None and soft >= hard:
        raise ImproperlyConfigured(
            f"task {task_name!r}: soft_time_limit ({soft:g} s) must be below time_limit ({hard:g} s), else the task never"
            " sees it"
        )
    return checked


def _is_key(value: Any) -> bool:
    return callable(value) or (isinstance(value, str) and bool(value))


def _check_rate(task_name: str, value: Any) -> None:
    try:
        interval_of(value)
    except ValueError as error:
        raise ImproperlyConfigured(f"task {task_name!r}: option rate_limit: {error}") from None


def _exception_classes(task_name: str, option: str, value: Any) -> tuple[type[BaseException], ...]:
    classes = (value,) if isinstance(value, type) else tuple(value)
    for item in classes:
        if not (isinstance(item, type) and issubclass(item, BaseException)):
            raise ImproperlyConfigured(f"task {task_name!r}: {option} lists exception classes, and {item!r} is none")
    return classes


def check_call_option_names(task_name: str, options: Collection[str]) -> None:
    """Raise `TypeError` for an option of a call that does not exist, or that only Celery's machinery understands."""
    if as_celery.is_on or _CALL_OPTIONS.issuperset(options):
        return
    for name in options:
        if name in FOREIGN_CALL_OPTIONS:
            raise TypeError(
                f"calling task {task_name!r}: option {name!r} is not supported: an app keeps its own connection to the"
                " broker; leave it out"
            )
        if name not in CALL_OPTIONS:
            raise TypeError(f"calling task {task_name!r}: unknown option {name!r}{nearest(name, CALL_OPTIONS)}")
