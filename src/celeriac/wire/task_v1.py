"""Celery's task message, protocol 1: no headers, everything in one object in the body. It is read, never written."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from typing import Any, Final

from msgspec.structs import replace

from celeriac.core.message import Message
from celeriac.exceptions import BadMessage, ContentDisallowed
from celeriac.wire import serializers, task_v2
from celeriac.wire.short_repr import short_repr

UNOPENED: Final = "protocol-1"
"""Stands for the name of a task that is not known yet."""


def is_v1(message: Message) -> bool:
    """Tell whether the message is not protocol 2, which names the task in its headers."""
    return "task" not in message.headers


def unopened(message: Message) -> Message:
    """Return the message with headers that name it before it is opened; the same for the same message that comes again."""
    name = hashlib.blake2b(message.body, digest_size=16).hexdigest()
    return replace(message, headers={**message.headers, "task": UNOPENED, "id": name, "ignore_result": True})


def as_it_came(message: Message) -> Message:
    """Return a message of `unopened` without the headers that name it."""
    headers = {name: value for name, value in message.headers.items() if name not in ("task", "id", "ignore_result")}
    return replace(message, headers=headers)


def upgrade(
    message: Message,
    accept: Collection[str],
    *,
    max_bytes: int = task_v2.UNFOLDED_MAX_BYTES,
    max_containers: int = task_v2.CONTAINERS_MAX,
) -> Message:
    """Make a protocol 2 message of a protocol 1 message; its body is opened for that, and written anew in its content type.

    Only plain data are opened here, where no code of a task may run.  Raises `ContentDisallowed`, `DecodeError`, and
    `BadMessage` for what is no task of either protocol.
    """
    if message.content_type not in serializers.PLAIN and serializers.is_accepted(message.content_type, accept):
        raise ContentDisallowed(
            f"protocol 1 is read as plain data only, not as {message.content_type!r}: use protocol 2"
        )
    said = serializers.loads(*task_v2.unfolded(message, max_bytes, max_containers), accept)
    if not isinstance(said, dict):
        raise BadMessage(
            "no task message: there is no header 'task' (protocol 2) and the body is no object (protocol 1)"
        )
    task, task_id = said.get("task"), said.get("id")
    if not isinstance(task, str) or not task:
        raise BadMessage("no task message: neither the headers nor the body name a task")
    if not isinstance(task_id, str) or not task_id:
        raise BadMessage("no task message: neither the headers nor the body tell the task's id")
    args, kwargs = said.get("args", []), said.get("kwargs", {})
    task_v2.check_arguments(args, kwargs)
    embed = task_v2.parse_embed(said)
    headers: dict[str, Any] = {
        "lang": "py",
        "task": task,
        "id": task_id,
        "shadow": None,
        **{name: said.get(name) for name in _SAME_NAMES},
        "group": said.get("group") or said.get("taskset"),
        "retries": said.get("retries") or 0,
        "timelimit": said.get("timelimit") or [None, None],
        "root_id": task_id,
        "parent_id": None,
        "argsrepr": short_repr(tuple(args)),
        "kwargsrepr": short_repr(kwargs),
        **{name: value for name, value in message.headers.items() if name != "compression"},
    }
    written = serializers.dumps((args, kwargs, _as_dict(embed)), message.content_type)
    return Message(
        message.queue,
        headers,
        written.data,
        message.properties,
        written.content_type,
        written.content_encoding,
        exchange=message.exchange,
        routing_key=message.routing_key,
        not_before=message.not_before,
    )


_SAME_NAMES: Final = ("eta", "expires", "group_index")


def _as_dict(embed: task_v2.Embed) -> dict[str, Any]:
    return {"callbacks": embed.callbacks, "errbacks": embed.errbacks, "chain": embed.chain, "chord": embed.chord}
