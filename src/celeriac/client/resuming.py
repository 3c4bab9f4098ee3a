"""`result.resume()`: a chain goes on from the step that failed, because the results of those before it are still there.

A step that fails leaves its message with the results, as a record of its own beside that of its failure.  Sending it again is all there
is to it: it holds its arguments, the value of the step before it among them, and what is left of the chain.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from celeriac.client.context import Request
from celeriac.core import states
from celeriac.core.effects import Effects, Record
from celeriac.core.headers import CRASHES, LOSSES, SENSITIVE
from celeriac.core.message import Message
from celeriac.exceptions import NotResumable
from celeriac.wire import result_meta, signing

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac
    from celeriac.client.result import AsyncResult

RESUMABLE: Final = "RESUMABLE"
"""State of the record that holds a message."""

_OF_EARLIER_RUNS: Final = frozenset({CRASHES, LOSSES, "eta", "expires"})


def record_id(task_id: str) -> str:
    """Return the id under which the message of a failed step is kept."""
    return f"{task_id}.resume"


def resumable_record(app: Celeriac, message: Message, request: Request, effects: Effects) -> Record | None:
    """Return the record that keeps the message of a failed step of a chain; None for what is none.

    Members of a chord have none: their chord has ended with them.
    """
    settings = app.settings
    if message.headers.get(SENSITIVE) and not signing.is_sealed(message.content_type):
        return None  # what nobody is to see is not left lying among the results
    is_step = bool(request.chain or request.parent_id)
    failed = effects.keep is not None and effects.keep.state == states.FAILURE
    if not (
        settings.result_keep_failed_steps and failed and is_step and not effects.joins and app.backend.counts_chords
    ):
        return None
    kept = {
        "message": {
            "queue": message.queue,
            "headers": {name: value for name, value in message.headers.items() if name not in _OF_EARLIER_RUNS},
            "body": base64.b64encode(message.body).decode(),
            "properties": {name: value for name, value in message.properties.items() if name != "expiration"},
            "content_type": message.content_type,
            "content_encoding": message.content_encoding,
            "exchange": message.exchange,
            "routing_key": message.routing_key,
        },
        "foregone": [keep.id for keep in effects.foregone],
    }
    meta = result_meta.ResultMeta(
        status=RESUMABLE, result=kept, children=None, parent_id=request.parent_id, task_id=record_id(message.id)
    )
    payload = result_meta.encode(meta, max_bytes=2 * settings.result_max_bytes, form=app.content.results)
    return Record(record_id(message.id), RESUMABLE, payload, settings.expires_of(states.FAILURE))


def resume(result: AsyncResult[Any]) -> None:
    """Send the step again at which the chain of `result` failed; see `AsyncResult.resume`."""
    app = result.app
    reader = app._reader
    for task_id in _failed_first(result):
        document = reader.fetch([record_id(task_id)]).get(record_id(task_id))
        if document is None:
            continue
        kept = result_meta.decode(document, app.content.results).result
        message = kept["message"]
        headers = {**message["headers"], "retries": 0}
        # The results first: who has the step runs it at once.  The message last: should this process end here, it is still there.
        reader.forget([task_id, *kept["foregone"]])
        body = base64.b64decode(message["body"])
        app.sender.publish(Message(**{**message, "headers": headers, "body": body}), {})
        reader.forget([record_id(task_id)])
        return
    raise NotResumable(
        f"task {result.id} can't be resumed: no failed step of a chain is kept for it. Steps are kept for as long as their results"
        " (result_expires, result_keep_failed_steps), and not for members of a chord, whose body has failed with them"
    )


def _failed_first(result: AsyncResult[Any]) -> Iterator[str]:
    """Yield the ids that may be the failed step's: the result's own, the one that its record names, and its parents'."""
    if result.state not in states.PROPAGATE_STATES:
        raise NotResumable(f"task {result.id} can't be resumed: it has not failed, it is {result.state}")
    yield result.id
    if (cause := result._meta().parent_id) is not None:
        yield cause
    parent = result.parent
    while parent is not None:
        yield parent.id
        parent = parent.parent
