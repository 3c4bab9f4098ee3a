"""From a call to its message: options, route and the running task's context put together. Nothing is sent here."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from celeriac.client.arguments import explain_unwritable
from celeriac.client.context import OWN_HEADERS, Request, running_request
from celeriac.client.options import CALL_OPTIONS, check_call_option_names
from celeriac.client.signature import as_signatures
from celeriac.core.ids import uuid7
from celeriac.core.routing import Route, find_route
from celeriac.exceptions import ArgumentError, EncodeError, MessageTooLarge, Retry
from celeriac.wire import serializers, task_v2

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac
    from celeriac.client.task import Task
    from celeriac.core.effects import Invoke
    from celeriac.core.message import Message
    from celeriac.core.settings import Settings

CallMapping = Mapping[str, Any]


class Defaults(Struct):
    """What a call starts from: the task's options and the settings, worked out once per task."""

    route: Route
    priority: int | None
    serializer: str
    ignore_result: bool | None
    """None leaves it to the worker's own task."""
    time_limit_s: float | None
    soft_time_limit_s: float | None
    expires: float | datetime | timedelta | None


def defaults_of_name(name: str, settings: Settings) -> Defaults:
    """Return the defaults for a task that is known by name only."""
    route = find_route(name, None, settings)
    priority = settings.task_default_priority if route.priority is None else route.priority
    return Defaults(route, priority, settings.task_serializer, None, None, None, None)


def defaults_of_task(task: Task[Any, Any], settings: Settings) -> Defaults:
    """Return the defaults for a registered task: its own options before its route's before the settings."""
    route = find_route(task.name, task.queue, settings)
    priority = task.priority if task.is_explicit("priority") or route.priority is None else route.priority
    return Defaults(
        route,
        priority,
        task.serializer,
        task.ignore_result,
        # Limits that come from the settings are the worker's business: they do not travel.
        task.time_limit if task.is_explicit("time_limit") else None,
        task.soft_time_limit if task.is_explicit("soft_time_limit") else None,
        task.expires,
    )


def new_id() -> str:
    """Return a new task id; ids sort by their time of birth."""
    return uuid7(time.time(), os.urandom(10))


def build_message(
    app: Celeriac,
    name: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    options: CallMapping,
    defaults: Defaults,
) -> Message:
    """Return the message for a call.

    Raises `TypeError` for options that do not exist, `ArgumentError` for arguments that the serializer can't carry and
    `MessageTooLarge`.
    """
    now = time.time()
    running = running_request()
    if not options:
        call = task_v2.Call(
            id=uuid7(now, os.urandom(10)),
            task=name,
            args=tuple(args),
            kwargs=dict(kwargs),
            queue=defaults.route.queue,
            exchange=defaults.route.exchange or "",
            routing_key=defaults.route.routing_key,
            priority=defaults.priority,
            serializer=defaults.serializer,
            ignore_result=defaults.ignore_result,
            time_limit=defaults.time_limit_s,
            soft_time_limit=defaults.soft_time_limit_s,
            origin=app.origin,
        )
        if defaults.expires is not None:
            call.expires = _expiry(name, defaults.expires, now)
    else:
        call = _call_with_options(app, name, args, kwargs, options, defaults, now)
    if running is not None:
        call.parent_id = call.parent_id or running.id
        call.root_id = call.root_id or running.root_id or running.id
    if call.reply_to is None and not call.ignore_result:
        call.reply_to = (running.reply_to if running is not None else None) or app.reply_to
    return _encode(app, call, now)


def _call_with_options(
    app: Celeriac,
    name: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    options: CallMapping,
    defaults: Defaults,
    now: float,
) -> task_v2.Call:
    check_call_option_names(name, options)
    get = options.get
    route = defaults.route
    if get("queue") is not None and get("queue") != route.queue:
        route = Route(str(options["queue"]))
    expires = get("expires", defaults.expires)
    delivery_mode = get("delivery_mode")
    call = task_v2.Call(
        id=get("task_id") or uuid7(now, os.urandom(10)),
        task=name,
        args=tuple(args),
        kwargs=dict(kwargs),
        queue=route.queue,
        exchange=get("exchange") or route.exchange or "",
        routing_key=get("routing_key") or route.routing_key,
        priority=defaults.priority if get("priority") is None else get("priority"),
        serializer=get("serializer") or defaults.serializer,
        compression=get("compression"),
        ignore_result=defaults.ignore_result if get("ignore_result") is None else get("ignore_result"),
        time_limit=defaults.time_limit_s if get("time_limit") is None else get("time_limit"),
        soft_time_limit=defaults.soft_time_limit_s if get("soft_time_limit") is None else get("soft_time_limit"),
        eta=_due(name, get("countdown"), get("eta"), now),
        expires=None if expires is None else _expiry(name, expires, now),
        shadow=get("shadow"),
        reply_to=get("reply_to"),
        root_id=get("root_id"),
        parent_id=get("parent_id"),
        group=get("group_id"),
        group_index=get("group_index"),
        retries=get("retries") or 0,
        callbacks=as_signatures(get("link")) or None,
        errbacks=as_signatures(get("link_error")) or None,
        chain=as_signatures(get("chain")) or None,
        chord=dict(options["chord"]) if get("chord") else None,
        headers=_headers(name, get("headers")),
        origin=app.origin,
    )
    if delivery_mode is not None:
        call.delivery_mode = delivery_mode
    return call


def message_from_invoke(app: Celeriac, invoke: Invoke, index: int, reply_to: str | None) -> Message:
    """Return the message of a follow-up; a repeat gets the same id, because it is derived from the parent's."""
    signature = invoke.signature
    name: str = signature["task"]
    options = {key: value for key, value in (signature.get("options") or {}).items() if key in CALL_OPTIONS}
    args = list(signature.get("args") or ())
    if not signature.get("immutable"):
        args = [*invoke.prepend, *args]
    options["task_id"] = options.get("task_id") or _derived_id(invoke, index)
    # Whoever waits for the result of a follow-up is where the first call came from, never here.
    options["reply_to"] = options.get("reply_to") or reply_to or ""
    options["parent_id"] = invoke.parent_id
    options["root_id"] = invoke.root_id
    if invoke.chain:
        options["chain"] = invoke.chain
    task = app.tasks.get(name)
    settings = app.settings
    defaults = task.defaults if task is not None else defaults_of_name(name, settings)
    return build_message(app, name, args, signature.get("kwargs") or {}, options, defaults)


def message_from_request(task: Task[Any, Any], request: Request, asked: Retry) -> Message:
    """Return the message that runs the task of a request once more, with the same id, as `asked` says."""
    hard_s, soft_s = request.timelimit
    again = {
        "task_id": request.id,
        "retries": request.retries + 1,
        "eta": datetime.fromtimestamp(
            time.time() + task.policy.default_retry_delay_s if asked.when_s is None else asked.when_s, UTC
        ),
        "root_id": request.root_id,
        "parent_id": request.parent_id or request.id,
        "group_id": request.group,
        "group_index": request.group_index,
        "link": request.callbacks,
        "link_error": request.errbacks,
        "chain": request.chain,
        "chord": request.chord,
        "reply_to": request.reply_to or "",
        "headers": request.headers or None,
        "ignore_result": request.ignore_result,
        "shadow": request.shadow,
        "queue": request.delivery_info.get("routing_key"),
        "priority": request.delivery_info.get("priority"),
        "time_limit": hard_s,
        "soft_time_limit": soft_s,
        "expires": request.expires,
        **asked.options,
    }
    args = request.args if asked.args_override is None else asked.args_override
    kwargs = request.kwargs if asked.kwargs_override is None else asked.kwargs_override
    return build_message(task.app, task.name, args, kwargs, again, task.defaults)


def _encode(app: Celeriac, call: task_v2.Call, now: float) -> Message:
    try:
        return task_v2.encode(call, now=now, max_bytes=app.settings.task_message_max_bytes)
    except MessageTooLarge:
        raise
    except EncodeError as error:
        task = app.tasks.get(call.task)
        found = explain_unwritable(
            call.task,
            task.binder if task is not None else None,
            call.args,
            call.kwargs,
            call.serializer,
            lambda value: serializers.dumps(value, call.serializer),
        )
        if found is None:
            raise
        raise found from error


def _due(name: str, countdown_s: float | None, eta: datetime | str | None, now: float) -> float | None:
    if eta is None:
        return None if countdown_s is None else now + countdown_s
    if countdown_s is not None:
        raise TypeError(f"calling task {name!r}: give either countdown or eta, not both")
    return _timestamp(eta)


def _expiry(name: str, expires: float | datetime | timedelta | str, now: float) -> float:
    match expires:
        case datetime() | str():
            return _timestamp(expires)
        case timedelta():
            return now + expires.total_seconds()
        case int() | float():
            return now + expires
    raise TypeError(f"calling task {name!r}: expires takes seconds, a timedelta or a datetime, not {expires!r}")


def _timestamp(moment: datetime | str) -> float:
    """Return Unix seconds; a time without zone is UTC."""
    if isinstance(moment, str):
        moment = datetime.fromisoformat(moment)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _headers(name: str, headers: Mapping[str, Any] | None) -> dict[str, Any]:
    if not headers:
        return {}
    taken = OWN_HEADERS & headers.keys()
    if taken:
        raise ArgumentError(
            f"calling task {name!r}: header {sorted(taken)[0]!r} belongs to the message protocol; choose another name"
        )
    return dict(headers)


def _derived_id(invoke: Invoke, index: int) -> str:
    try:
        namespace = uuid.UUID(invoke.parent_id)
    except ValueError:  # an id that the caller made up
        namespace = uuid.uuid5(uuid.NAMESPACE_OID, invoke.parent_id)
    role = "step" if invoke.chain is not None else "link"
    signature = invoke.signature
    # The content takes part, so that two different callbacks differ even for a caller that does not number them.
    content = f"{signature.get('args')!r}{sorted((signature.get('kwargs') or {}).items())!r}"
    return str(uuid.uuid5(namespace, f"{role}/{index}/{signature['task']}/{content}"))
