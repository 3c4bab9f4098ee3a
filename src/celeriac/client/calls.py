"""From a call to its message: options, route and the running task's context put together. Nothing is sent here."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct
from msgspec.structs import replace

from celeriac.client import routes
from celeriac.client.arguments import explain_unwritable
from celeriac.client.call_checks import check_call_options
from celeriac.client.canvas.signature import as_signatures
from celeriac.client.content import check_call
from celeriac.client.context import OWN_HEADERS, Request, running_request
from celeriac.client.options import CALL_OPTIONS
from celeriac.client.redaction import Redaction, redaction_of
from celeriac.client.stamps import carried, take_stamps
from celeriac.client.task_limits import LimitHeaders, limit_headers_of
from celeriac.core.headers import SENSITIVE
from celeriac.core.ids import uuid7
from celeriac.core.routing import DESTINATION, Route, find_destination
from celeriac.exceptions import ArgumentError, EncodeError, MessageTooLarge, QueueNotFound
from celeriac.wire import serializers, signing, task_v2

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac
    from celeriac.client.conversion import Conversion
    from celeriac.client.task import Task
    from celeriac.core.effects import Again, Invoke
    from celeriac.core.message import Message
    from celeriac.core.settings import Settings

CallMapping = Mapping[str, Any]
DESTINATIONS: Final = frozenset(DESTINATION)


class Defaults(Struct):
    """What a call starts from: the task's options and the settings, worked out once per task."""

    route: Route | None
    """None: its queue is not declared, which is no matter to calls that name another."""
    priority: int | None
    serializer: str
    ignore_result: bool | None
    """None leaves it to the worker's own task."""
    time_limit_s: float | None
    soft_time_limit_s: float | None
    expires: float | datetime | timedelta | None
    way: dict[str, Any] = {}
    """The options behind the route: queue, exchange, routing_key."""
    extra: dict[str, Any] = {}
    """Further options that the route carries."""
    asks_routers: bool = False
    """A router has to be asked for each call."""
    has_priority: bool = True
    """The priority is the task's or the route's; False: the setting's."""
    compression: str | None = None
    conversion: Conversion | None = None
    """Makes plain data of the arguments, for tasks that take more."""
    name_shadow: Callable[..., str | None] | None = None
    """Makes the name that logs and monitors show, for tasks that want another one."""
    limit_headers: LimitHeaders | None = None
    """Makes the headers by which limits tell calls apart, for tasks that have such."""
    redaction: Redaction | None = None
    """Hides sensitive arguments, for tasks that have such."""


def _route(app: Celeriac, way: dict[str, Any]) -> Route | None:
    try:
        return find_destination({}, way, app.amqp.table)
    except QueueNotFound:
        return None


def defaults_of_name(name: str, app: Celeriac, found: dict[str, Any] | None = None) -> Defaults:
    """Return the defaults for a task that is known by name only; `found`: what a router said about this very call."""
    settings = app.settings
    said = routes.find_static(app.amqp.routes, name) if found is None else found
    way = {option: value for option, value in (said or {}).items() if option in DESTINATION}
    extra = {option: value for option, value in (said or {}).items() if option not in DESTINATION}
    extra = {**_delivery(settings), **extra}
    priority = extra.pop("priority", None)
    return Defaults(
        _route(app, way),
        settings.task_default_priority if priority is None else priority,
        settings.task_serializer,
        None,
        None,
        None,
        None,
        way,
        extra,
        asks_routers=said is None,
        has_priority=priority is not None,
        compression=settings.task_compression,
    )


def _delivery(settings: Settings) -> dict[str, Any]:
    """Return the option of calls whose messages need not outlive the broker; they do unless a setting says otherwise."""
    return {"delivery_mode": 1} if settings.task_default_delivery_mode in (1, "transient") else {}


def defaults_of_task(task: Task[Any, Any], app: Celeriac, found: dict[str, Any] | None = None) -> Defaults:
    """Return the defaults for a registered task: its own options before its route's before the settings.

    `found`: what a router said about this very call.
    """
    check_call(app, task.name, task.serializer)
    # A queue or an exchange of the task itself takes the place of both in the route; a key alone does not.
    own = {option: value for option in DESTINATION if (value := getattr(task, option, None)) is not None}
    said = routes.find_static(app.amqp.routes, task.name) if found is None else found
    way = {option: value for option, value in (said or {}).items() if option in DESTINATION}
    way = own if own.keys() & {"queue", "exchange"} else {**way, **own}
    extra = {o: v for o, v in (said or {}).items() if o not in DESTINATION and not task.is_explicit(o)}
    extra = {**_delivery(app.settings), **extra}
    routed = extra.pop("priority", None)
    priority = task.priority if routed is None else routed
    return Defaults(
        _route(app, way),
        priority,
        task.serializer,
        task.ignore_result,
        # Limits that come from the settings are the worker's business: they do not travel.
        task.time_limit if task.is_explicit("time_limit") else None,
        task.soft_time_limit if task.is_explicit("soft_time_limit") else None,
        task.expires,
        way,
        extra,
        asks_routers=said is None,
        has_priority=routed is not None or task.is_explicit("priority"),
        compression=task.compression,
        conversion=task.conversion,
        name_shadow=task.shadow_name if task.names_shadow else None,
        limit_headers=limit_headers_of(task),
        redaction=redaction_of(task),
    )


def _routed(
    app: Celeriac, name: str, args: Sequence[Any], kwargs: Mapping[str, Any], options: CallMapping, defaults: Defaults
) -> tuple[Defaults, CallMapping]:
    """Return the defaults and options of one call whose routers have to be asked, or whose route carries options."""
    if defaults.asks_routers:
        task = app.tasks.get(name)
        found = routes.ask(app.amqp.routes, name, args, kwargs, options, task)
        of_call = defaults_of_task(task, app, found) if task is not None else defaults_of_name(name, app, found)
        defaults = replace(
            defaults,
            route=of_call.route,
            way=of_call.way,
            extra=of_call.extra,
            priority=of_call.priority,
            has_priority=of_call.has_priority,
        )
    return defaults, routes.with_route(defaults.extra, options) if defaults.extra else options


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
    now = app.time_source.time()
    running = running_request()
    if defaults.conversion is not None:
        carrier = app.content.carrier(options.get("serializer") or defaults.serializer)
        args, kwargs = defaults.conversion.dump_arguments(args, kwargs, carrier)
    if defaults.asks_routers or defaults.extra:
        defaults, options = _routed(app, name, args, kwargs, options, defaults)
    if not options:
        route = defaults.route or find_destination({}, defaults.way, app.amqp.table)
        call = task_v2.Call(
            id=uuid7(now, os.urandom(10)),
            task=name,
            args=tuple(args),
            kwargs=dict(kwargs),
            queue=route.queue,
            exchange=route.exchange,
            routing_key=route.routing_key,
            priority=defaults.priority,
            serializer=defaults.serializer,
            compression=defaults.compression,
            ignore_result=defaults.ignore_result,
            time_limit=defaults.time_limit_s,
            soft_time_limit=defaults.soft_time_limit_s,
            origin=app.origin,
        )
        if defaults.expires is not None:
            call.expires = _expiry(name, defaults.expires, now)
    else:
        call = _call_with_options(app, name, args, kwargs, options, defaults, now)
    if defaults.name_shadow is not None and call.shadow is None:
        call.shadow = defaults.name_shadow(args, kwargs, options)
    if defaults.limit_headers is not None:
        call.headers = {**call.headers, **defaults.limit_headers(args, kwargs)}
    if defaults.redaction is not None:
        _hide(app, call, defaults.redaction)
    if running is not None:
        call.parent_id = call.parent_id or running.id
        call.root_id = call.root_id or running.root_id or running.id
        if app.settings.task_inherit_parent_priority and not defaults.has_priority and options.get("priority") is None:
            call.priority = running.delivery_info.get("priority")
    if call.priority is not None:
        call.priority = app.amqp.to_wire(call.priority, call.queue)
    if call.reply_to is None and not call.ignore_result:
        call.reply_to = (running.reply_to if running is not None else None) or app.reply_to
    return _encode(app, call, now)


def _hide(app: Celeriac, call: task_v2.Call, redaction: Redaction) -> None:
    call.headers = {**call.headers, SENSITIVE: True}
    if signing.is_sealed(call.serializer):
        return  # nothing of it is shown anyhow
    args, kwargs = redaction.texts(call.args, call.kwargs, app.settings.task_repr_maxlevels)
    call.argsrepr = args if call.argsrepr is None else call.argsrepr
    call.kwargsrepr = kwargs if call.kwargsrepr is None else call.kwargsrepr


def _call_with_options(
    app: Celeriac,
    name: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    options: CallMapping,
    defaults: Defaults,
    now: float,
) -> task_v2.Call:
    options, stamps = take_stamps(name, options)
    check_call_options(name, options)
    get = options.get
    if get("serializer") and name in app.tasks:
        check_call(app, name, options["serializer"])
    route = defaults.route
    if route is None or not DESTINATIONS.isdisjoint(options):
        route = find_destination(options, defaults.way, app.amqp.table)
    expires = get("expires", defaults.expires)
    delivery_mode = get("delivery_mode")
    call = task_v2.Call(
        id=get("task_id") or uuid7(now, os.urandom(10)),
        task=name,
        args=tuple(args),
        kwargs=dict(kwargs),
        queue=route.queue,
        exchange=route.exchange,
        routing_key=route.routing_key,
        priority=defaults.priority if get("priority") is None else get("priority"),
        serializer=get("serializer") or defaults.serializer,
        compression=get("compression") or defaults.compression,
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
        replaced_task_nesting=get("replaced_task_nesting") or 0,
        callbacks=as_signatures(get("link")) or None,
        errbacks=as_signatures(get("link_error")) or None,
        chain=as_signatures(get("chain")) or None,
        chord=dict(options["chord"]) if get("chord") else None,
        headers=_headers(name, get("headers")),
        stamped_headers=list(stamps) or None,
        stamps=stamps,
        origin=app.origin,
        argsrepr=get("argsrepr"),
        kwargsrepr=get("kwargsrepr"),
    )
    if delivery_mode is not None:
        call.delivery_mode = delivery_mode
    return call


def message_from_invoke(app: Celeriac, invoke: Invoke, index: int, reply_to: str | None) -> Message:
    """Return the message of a follow-up; a repeat gets the same id, because it is derived from the parent's."""
    signature = invoke.signature
    name: str = signature["task"]
    options = carried(signature.get("options") or {}, CALL_OPTIONS)
    args = list(signature.get("args") or ())
    if invoke.same_task:
        return _build_plain(app, name, args, signature.get("kwargs") or {}, options)
    if not signature.get("immutable"):
        args = [*invoke.prepend, *args]
    options["task_id"] = options.get("task_id") or derived_id(invoke, index)
    # Whoever waits for the result of a follow-up is where the first call came from, never here.
    options["reply_to"] = options.get("reply_to") or reply_to or ""
    options["parent_id"] = invoke.parent_id
    options["root_id"] = invoke.root_id
    if invoke.chain:
        options["chain"] = invoke.chain
    return _build_plain(app, name, args, signature.get("kwargs") or {}, options)


def message_from_planned(
    app: Celeriac, name: str, args: Sequence[Any], kwargs: Mapping[str, Any], options: CallMapping
) -> Message:
    """Return the message of a call that a worker makes as a part of a workflow."""
    return _build_plain(app, name, args, kwargs, carried(options, CALL_OPTIONS))


def _build_plain(
    app: Celeriac, name: str, args: Sequence[Any], kwargs: Mapping[str, Any], options: CallMapping
) -> Message:
    task = app.tasks.get(name)
    defaults = _plain(task.defaults) if task is not None else defaults_of_name(name, app)
    return build_message(app, name, args, kwargs, options, defaults)


def _plain(defaults: Defaults) -> Defaults:
    """Return defaults for arguments that are plain data already, and the business of the worker that gets them."""
    return defaults if defaults.conversion is None else replace(defaults, conversion=None)


def message_from_request(task: Task[Any, Any], request: Request, again: Again) -> Message:
    """Return the message that runs the task of a request once more, with the same id, as `again` says."""
    options = request.as_execution_options() | {
        "retries": again.retries,
        "eta": datetime.fromtimestamp(again.not_before, UTC),
        "parent_id": request.parent_id or request.id,
        "reply_to": request.reply_to or "",
        **again.options,
    }
    args = request.args if again.args is None else again.args
    kwargs = request.kwargs if again.kwargs is None else again.kwargs
    message = build_message(task.app, task.name, args, kwargs, options, task.defaults)
    if request.stamped_headers:  # by which it may be revoked
        message.headers |= {"stamped_headers": request.stamped_headers, "stamps": request.stamps}
    return message


def _encode(app: Celeriac, call: task_v2.Call, now: float) -> Message:
    try:
        settings = app.settings
        return task_v2.encode(
            call,
            now=now,
            max_bytes=settings.task_message_max_bytes,
            keys=app.content.keys,
            repr_levels=settings.task_repr_maxlevels,
        )
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
            lambda value: serializers.dumps(value, call.serializer, app.content.keys),
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


def derived_id(invoke: Invoke, index: int) -> str:
    """Return the id of a follow-up: the same one whenever its parent ends."""
    try:
        namespace = uuid.UUID(invoke.parent_id)
    except ValueError:  # an id that the caller made up
        namespace = uuid.uuid5(uuid.NAMESPACE_OID, invoke.parent_id)
    role = "step" if invoke.chain is not None else "link"
    signature = invoke.signature
    # The content takes part, so that two different callbacks differ even for a caller that does not number them.
    content = f"{signature.get('args')!r}{sorted((signature.get('kwargs') or {}).items())!r}"
    if invoke.same_task:  # a task may be replaced again and again, always under its id
        content += f"{(signature.get('options') or {}).get('replaced_task_nesting')}"
    return str(uuid.uuid5(namespace, f"{role}/{index}/{signature['task']}/{content}"))
