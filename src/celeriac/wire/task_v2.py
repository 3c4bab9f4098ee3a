"""Celery's task message, protocol 2: headers that say what to run and how, and a body `[args, kwargs, embed]`.

Headers that say nothing are left out, where Celery writes null: its protocol calls them optional, its workers take the same for
granted, and a message is a third smaller without them.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct, field

from celeriac.core.headers import to_header, to_timestamp
from celeriac.core.message import Message
from celeriac.exceptions import BadMessage, DecodeError, EncodeError, MessageTooLarge
from celeriac.wire import json_text, serializers, signing
from celeriac.wire.short_repr import MAX_LEVELS, short_repr
from celeriac.wire.signing import Keys, Subject

Signature = dict[str, Any]

UNFOLDED_MAX_BYTES: Final = 16 * 1024 * 1024
"""What a compressed body may unfold to, unless the caller says otherwise."""
CONTAINERS_MAX: Final = 250_000
"""Lists and objects that a body may have, unless the caller says otherwise."""
EXPIRATION_MAX_MS: Final = 2**32 - 1
PERSISTENT: Final = 2
HIDDEN: Final = "<sealed>"
"""Stands where people would read arguments that are sealed."""


class Embed(Struct, frozen=True):
    """What the body tells beside the arguments: what follows after the task."""

    callbacks: list[Signature] | None = None
    errbacks: list[Signature] | None = None
    chain: list[Signature] | None = None
    """What is left of the chain, last step first."""
    chord: Signature | None = None
    """The body of the chord whose header this task belongs to."""


NOTHING_FOLLOWS: Final = Embed()


class Call(Struct, kw_only=True):
    """Everything that a call says; `encode` makes a message of it."""

    id: str
    task: str
    args: tuple[Any, ...] | list[Any] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    queue: str = "celery"
    exchange: str = ""
    routing_key: str | None = None
    """None: the queue's name."""
    root_id: str | None = None
    """None: the task is its own root."""
    parent_id: str | None = None
    group: str | None = None
    group_index: int | None = None
    retries: int = 0
    eta: float | None = None
    """Unix seconds."""
    expires: float | None = None
    """Unix seconds."""
    time_limit: float | None = None
    """Seconds."""
    soft_time_limit: float | None = None
    """Seconds."""
    shadow: str | None = None
    callbacks: list[Signature] | None = None
    errbacks: list[Signature] | None = None
    chain: list[Signature] | None = None
    """What is left of the chain, last step first."""
    chord: Signature | None = None
    ignore_result: bool | None = False
    """None: the task's own default holds (`send_task` without a word about it)."""
    replaced_task_nesting: int = 0
    stamped_headers: list[str] | None = None
    stamps: dict[str, Any] = field(default_factory=dict)
    priority: int | None = None
    reply_to: str | None = None
    correlation_id: str | None = None
    """None: the task's id."""
    delivery_mode: int = PERSISTENT
    headers: dict[str, Any] = field(default_factory=dict)
    """The caller's own headers, merged over Celery's."""
    properties: dict[str, Any] = field(default_factory=dict)
    """Further publishing properties (`app_id`...)."""
    serializer: str = "json"
    compression: str | None = None
    origin: str = ""
    argsrepr: str | None = None
    """None: made from `args`."""
    kwargsrepr: str | None = None
    """None: made from `kwargs`."""


def encode(
    call: Call, *, now: float, max_bytes: int, keys: Keys | None = None, repr_levels: int = MAX_LEVELS
) -> Message:
    """Make the message of a call; `now` in Unix seconds, `keys` for the serializers that sign.

    `repr_levels`: how deep the short texts of the arguments go.

    Raises `EncodeError` when the arguments are no plain data, `MessageTooLarge` when body and headers exceed `max_bytes`.
    """
    content_type, content_encoding, body = serializers.dumps(
        (
            call.args,
            call.kwargs,
            {"callbacks": call.callbacks, "errbacks": call.errbacks, "chain": call.chain, "chord": call.chord},
        ),
        call.serializer,
        keys,
        Subject(signing.TASK, call.task, call.id),
    )
    headers: dict[str, Any] = {
        "lang": "py",
        "task": call.task,
        "id": call.id,
        "root_id": call.root_id or call.id,
        "argsrepr": shown(call.args, content_type, repr_levels) if call.argsrepr is None else call.argsrepr,
        "kwargsrepr": shown(call.kwargs, content_type, repr_levels) if call.kwargsrepr is None else call.kwargsrepr,
        "origin": call.origin,
        "ignore_result": call.ignore_result,
    }
    _say_what_is_set(call, headers)
    if call.headers:
        headers.update(call.headers)
    if call.compression:
        headers["compression"], body = serializers.compress(body, call.compression)
    _check_size(call, body, headers, max_bytes)
    properties: dict[str, Any] = {
        "correlation_id": call.correlation_id or call.id,
        **call.properties,
        "delivery_mode": call.delivery_mode,
    }
    if call.reply_to:
        properties["reply_to"] = call.reply_to
    if call.expires is not None and (expiration := _expiration(call.expires, now)) is not None:
        properties["expiration"] = expiration
    properties["priority"] = call.priority or 0
    return Message(
        call.queue,
        headers,
        body,
        properties,
        content_type,
        content_encoding,
        call.exchange,
        call.routing_key,
        call.eta if call.eta is not None and call.eta > now else None,
    )


def _say_what_is_set(call: Call, headers: dict[str, Any]) -> None:
    """Add the headers that most calls have no word for."""
    if call.retries:
        headers["retries"] = call.retries
    if call.parent_id is not None:
        headers["parent_id"] = call.parent_id
    if call.eta is not None:
        headers["eta"] = _time_header(call.eta, "eta")
    if call.expires is not None:
        headers["expires"] = _time_header(call.expires, "expires")
    if call.time_limit is not None or call.soft_time_limit is not None:
        headers["timelimit"] = [call.time_limit, call.soft_time_limit]
    if call.group is not None:
        headers["group"] = call.group
    if call.group_index is not None:
        headers["group_index"] = call.group_index
    if call.shadow is not None:
        headers["shadow"] = call.shadow
    if call.replaced_task_nesting:
        headers["replaced_task_nesting"] = call.replaced_task_nesting
    if call.stamped_headers is not None:
        headers["stamped_headers"] = call.stamped_headers
    if call.stamps:
        headers["stamps"] = call.stamps


def with_all_headers(headers: dict[str, Any]) -> dict[str, Any]:
    """Return all of Celery's headers, those that say nothing, too: as programs know them that listen to what is sent."""
    return {**_UNSAID, "timelimit": [None, None], "stamps": {}, **headers}


def shown(arguments: Any, content_type: str, repr_levels: int = MAX_LEVELS) -> str:
    """Return the short text of arguments that travels in a header: of those that are sealed it tells nothing."""
    return HIDDEN if signing.is_sealed(content_type) else short_repr(arguments, max_levels=repr_levels)


def encode_body(
    args: Collection[Any],
    kwargs: dict[str, Any],
    embed: Embed,
    serializer: str = "json",
    keys: Keys | None = None,
    subject: Subject = signing.NOBODY,
) -> bytes:
    """Write a body alone, for `again` with other arguments; `subject` is that of the message. Raises `EncodeError`."""
    follow_ups = msgspec.structs.asdict(embed)
    return serializers.dumps((args, kwargs, follow_ups), serializer, keys, subject).data


def decode_body(
    message: Message,
    accept: Collection[str],
    *,
    keys: Keys | None = None,
    max_bytes: int = UNFOLDED_MAX_BYTES,
    max_containers: int = CONTAINERS_MAX,
) -> tuple[Sequence[Any], dict[str, Any], Embed]:
    """Open the body: arguments, keyword arguments, and what follows.

    `max_bytes` limits a compressed body unfolded, `max_containers` the lists and objects in it.

    Raises `ContentDisallowed`, `SecurityError` for a signature that does not hold, `DecodeError` for bytes that cannot be read, `BadMessage` for what is no task's body.
    """
    subject = subject_of(message) if message.content_type in _BOUND else signing.NOBODY
    body, content_type, content_encoding = unfolded(message, max_bytes, max_containers)
    return parse_body(serializers.loads(body, content_type, content_encoding, accept, keys, subject))


def unfolded(message: Message, max_bytes: int, max_containers: int = CONTAINERS_MAX) -> tuple[bytes, str, str]:
    """Return the body, decompressed if it has to be, with its content type and encoding. Raises `DecodeError`."""
    body = message.body
    compression = message.headers.get("compression")
    if compression is not None:
        if not isinstance(compression, str):
            raise BadMessage(f"header 'compression' must be text, not {type(compression).__name__}")
        body = serializers.decompress(body, compression, max_bytes)
    if serializers.exceeds_containers(body, message.content_type, max_containers):
        raise DecodeError(f"the body has more than {max_containers} lists and objects (task_message_max_containers)")
    return body, message.content_type, message.content_encoding


def parse_body(value: Any) -> tuple[Sequence[Any], dict[str, Any], Embed]:
    """Check a body that has been read. Raises `BadMessage` that says what is wrong."""
    if not isinstance(value, list | tuple) or len(value) != 3:
        raise BadMessage(f"the body must be a list [args, kwargs, embed], not {_kind(value)}")
    args, kwargs, embed = value
    check_arguments(args, kwargs)
    if embed is None or embed == _EMPTY_EMBED:
        return args, kwargs, NOTHING_FOLLOWS
    if not isinstance(embed, dict):
        raise BadMessage(f"the body's embed must be an object, not {_kind(embed)}")
    return args, kwargs, parse_embed(embed)


def parse_embed(embed: dict[str, Any]) -> Embed:
    """Check the follow-ups of a body. Raises `BadMessage` that names the part."""
    for name in ("callbacks", "errbacks", "chain"):
        signatures = embed.get(name)
        if signatures is None:
            continue
        if not isinstance(signatures, list | tuple):
            raise BadMessage(f"the body's {name} must be a list of signatures, not {_kind(signatures)}")
        for index, signature in enumerate(signatures):
            _check_signature(signature, f"{name}[{index}]")
    chord = embed.get("chord")
    if chord is not None:
        _check_signature(chord, "chord")
    return Embed(embed.get("callbacks"), embed.get("errbacks"), embed.get("chain"), chord)


def check_arguments(args: Any, kwargs: Any) -> None:
    """Raise `BadMessage` unless `args` is a list and `kwargs` an object with texts as keys."""
    if not isinstance(args, list | tuple):  # pickle knows tuples
        raise BadMessage(f"the body's args must be a list, not {_kind(args)}")
    if not isinstance(kwargs, dict):
        raise BadMessage(f"the body's kwargs must be an object, not {_kind(kwargs)}")
    for key in kwargs:
        if not isinstance(key, str):
            raise BadMessage(f"the names in the body's kwargs must be texts, not {_kind(key)}")


def again(
    message: Message,
    *,
    retries: int,
    not_before: float | None,
    body: bytes | None,
    origin: str,
    now: float | None = None,
    argsrepr: str | None = None,
    kwargsrepr: str | None = None,
) -> Message:
    """Make the message of the same task once more: a retry.

    `body` replaces the arguments, in the same content type (it is compressed if the old one was); None keeps them.  With
    `now` (Unix seconds) the time to live is counted anew from the header `expires`.
    """
    headers = dict(message.headers)
    # Marks of the delivery that is over, not of the task.
    headers.pop("redelivered", None)
    headers.pop("eta", None)
    if not_before is not None:
        headers["eta"] = _time_header(not_before, "eta")
    headers["retries"] = retries
    headers["parent_id"] = headers.get("parent_id") or headers["id"]
    headers["origin"] = headers.get("origin") or origin
    if argsrepr is not None:
        headers["argsrepr"] = argsrepr
    if kwargsrepr is not None:
        headers["kwargsrepr"] = kwargsrepr
    if body is None:
        body = message.body
    elif headers.get("compression"):
        headers["compression"], body = serializers.compress(body, headers["compression"])
    properties = dict(message.properties)
    expires = to_timestamp(headers.get("expires"), "expires") if now is not None else None
    if now is not None and expires is not None:
        properties["expiration"] = _expiration(expires, now)
        if properties["expiration"] is None:
            del properties["expiration"]
    return Message(
        message.queue,
        headers,
        body,
        properties,
        message.content_type,
        message.content_encoding,
        message.exchange,
        message.routing_key,
        not_before,
    )


def subject_of(message: Message) -> Subject:
    """Return what a signature or seal of the message's body is bound to."""
    return Subject(signing.TASK, str(message.headers.get("task")), str(message.headers.get("id")))


_UNSAID: Final[dict[str, Any]] = {
    "shadow": None,
    "eta": None,
    "expires": None,
    "group": None,
    "group_index": None,
    "retries": 0,
    "parent_id": None,
    "replaced_task_nesting": 0,
    "stamped_headers": None,
}
"""What Celery's producers write into each message, and its workers (4.4 to 5.7 were read) take for granted where it is missing."""
_BOUND: Final = (signing.HMAC_TYPE, signing.SEALED_TYPE)
_EMPTY_EMBED: Final = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}


def _check_signature(value: Any, where: str) -> None:
    if not isinstance(value, dict):
        raise BadMessage(f"the body's {where} must be a signature, not {_kind(value)}")
    task = value.get("task")
    if not isinstance(task, str) or not task:
        raise BadMessage(f"the body's {where} names no task")
    for name, kinds in _SIGNATURE_PARTS:
        part = value.get(name)
        if part is not None and not isinstance(part, kinds):
            raise BadMessage(f"the body's {where}: {name} is {_kind(part)}")


_SIGNATURE_PARTS: Final[tuple[tuple[str, tuple[type, ...]], ...]] = (
    ("args", (list, tuple)),
    ("kwargs", (dict,)),
    ("options", (dict,)),
    ("subtask_type", (str,)),
    ("immutable", (bool,)),
)


def _time_header(timestamp: float | None, name: str) -> str | None:
    if timestamp is None:
        return None
    try:
        return to_header(timestamp)
    except (ValueError, OverflowError, OSError):
        raise EncodeError(f"{name} = {timestamp!r} lies outside the years 1 to 9999") from None


def _expiration(expires: float, now: float) -> str | None:
    """Return the time to live in milliseconds as text, None when it is longer than RabbitMQ can count.

    RabbitMQ would refuse such a message, and the header `expires` says the same to the worker.
    """
    # The small surplus undoes what the subtraction of floats may have lost.
    rest_ms = max(0, int((expires - now) * 1000 + 0.001))
    return str(rest_ms) if rest_ms <= EXPIRATION_MAX_MS else None


def _check_size(call: Call, body: bytes, headers: dict[str, Any], max_bytes: int) -> None:
    size = len(body)
    if call.headers or call.stamps:
        size += len(json_text.dumps(headers))
    if size > max_bytes:
        raise MessageTooLarge(
            f"the message of task {call.task!r} has {size} bytes, over task_message_max_bytes = {max_bytes}:"
            " pass a reference to the data instead of the data"
        )


def _kind(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a text"
        case list() | tuple():
            return f"a list of {len(value)}"
        case dict():
            return "an object"
    return f"a {type(value).__name__}"
