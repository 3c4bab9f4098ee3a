"""What becomes of delayed messages that are revoked: their end is stored here and now, by whoever revokes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from celeriac.client.signing import sign_messages
from celeriac.core import states
from celeriac.core.effects import Record
from celeriac.core.headers import CRASHES, LOSSES, SIGNATURE, to_header
from celeriac.core.message import Message
from celeriac.core.revoking import REVOKED
from celeriac.exceptions import CeleriacError, TaskRevokedError
from celeriac.wire import result_meta, task_v2

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac

_OURS = "celeriac_"
_COUNTS = frozenset({CRASHES, LOSSES, SIGNATURE})


def conclude_withdrawn(app: Celeriac, messages: Sequence[Message]) -> list[Message | None]:
    """Store REVOKED for each task that has not ended; return for each message what is to take its place, mostly nothing.

    A message on whose end others wait (a chord, a lock, a limit) is not dropped: what takes its place is due at once, and a
    worker concludes it.  Idempotent.  Raises `BackendUnavailable`.
    """
    kept = [message for message in messages if not _ignores_result(app, message)]
    if kept and app.backend.stores:
        ended = app._reader.fetch([message.id for message in kept])
        records = [_record(app, message) for message in kept if not _is_ready(app, ended.get(message.id))]
        if records:
            app._reader.store(records)
    marked = [_marked(message) if _is_waited_for(app, message) else None for message in messages]
    sign_messages(app, [message for message in marked if message is not None])
    return marked


def _ignores_result(app: Celeriac, message: Message) -> bool:
    ignored = message.headers.get("ignore_result")
    if ignored is None:
        task = app.tasks.get(message.task)
        ignored = task.ignore_result if task is not None else app.settings.task_ignore_result
    return bool(ignored)


def _is_ready(app: Celeriac, document: bytes | None) -> bool:
    return document is not None and result_meta.decode(document, app.content.results).status in states.READY_STATES


def _record(app: Celeriac, message: Message) -> Record:
    headers, settings = message.headers, app.settings
    meta = result_meta.ResultMeta(
        status=states.REVOKED,
        result=TaskRevokedError("revoked"),
        children=None,
        date_done=to_header(app.time_source.time()),
        task_id=message.id,
        group_id=headers.get("group"),
        parent_id=headers.get("parent_id"),
    )
    if settings.result_extended:
        meta.name = message.task
        meta.retries = headers.get("retries") or 0
        meta.queue = message.routing_key or message.queue
    payload = result_meta.encode(meta, max_bytes=settings.result_max_bytes, form=app.content.results)
    reply_to: Any = message.properties.get("reply_to")
    return Record(message.id, states.REVOKED, payload, settings.result_expires, reply_to or "")


def _is_waited_for(app: Celeriac, message: Message) -> bool:
    """Tell whether more than a result hangs on the end of a task; so it is taken to be when its body cannot be read here."""
    if any(name.startswith(_OURS) and name not in _COUNTS for name in message.headers):
        return True
    try:
        _args, _kwargs, embed = task_v2.decode_body(message, app.settings.accept_content, keys=app.content.keys)
    except CeleriacError:
        return True
    return embed.chord is not None


def _marked(message: Message) -> Message:
    headers = {**message.headers, REVOKED: True, "eta": None}
    return Message(
        message.queue,
        headers,
        message.body,
        message.properties,
        message.content_type,
        message.content_encoding,
        message.exchange,
        message.routing_key,
    )
