"""What follows from a task's end in a workflow, written out: follow-ups expanded to messages, parts of chords, ends of what never runs.

Executors use it for what `decide` asks for, and so does whoever finishes a stuck chord by hand.
"""

from __future__ import annotations

import itertools
import logging
import uuid
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct, field
from msgspec.structs import replace

from celeriac.client import calls
from celeriac.client.canvas.plan import plan
from celeriac.client.chords import opening_of
from celeriac.client.context import Request, result_tuple
from celeriac.core import states
from celeriac.core.effects import Invoke, Join, Keep, Record
from celeriac.core.headers import to_header
from celeriac.core.outcome import ChordEnded, Joined
from celeriac.core.workflow import ChordOpening, EndedMember, Part
from celeriac.exceptions import CeleriacError, DecodeError, MessageTooLarge, OperationalError, WorkerLostError
from celeriac.wire import chord_part, result_meta

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac
    from celeriac.client.result_base import ResultBase
    from celeriac.core.message import Message

Signature = Mapping[str, Any]

logger = logging.getLogger("celeriac.task")

_WORKFLOWS: Final = frozenset({"chain", "group", "chord"})


class Sent(Struct):
    """A follow-up as it is sent: one message, or the first ones of a workflow."""

    messages: list[Message]
    child: list[Any]
    """The result tuple of what comes first of it."""
    openings: list[ChordOpening] = field(default_factory=list)


def follow_up(app: Celeriac, invoke: Invoke, index: int, reply_to: str | None) -> Sent:
    """Write out one follow-up; `index` tells it from the others of the same task.

    A repeat gives the same messages under the same ids.  Raises what a call raises, and `ImproperlyConfigured` for a chord on a backend
    that can't count; of an errback that can't be sent it only says so, for the failure has to be told to all others.
    """
    if invoke.error is None:
        return _follow_up(app, invoke, index, reply_to)
    try:
        return _follow_up(app, invoke, index, reply_to)
    except Exception as error:
        task = invoke.signature.get("task")
        logger.error("errback %s of task %s can't be sent: %s: %s", task, invoke.parent_id, type(error).__name__, error)
        return Sent([], [])


def _follow_up(app: Celeriac, invoke: Invoke, index: int, reply_to: str | None) -> Sent:
    if not is_workflow(invoke.signature):
        message = calls.message_from_invoke(app, invoke, index, reply_to)
        return Sent([message], result_tuple(message.id))
    args = () if invoke.signature.get("immutable") else invoke.prepend
    options = {"parent_id": invoke.parent_id, "root_id": invoke.root_id, "chain": invoke.chain or None}
    planned = plan(invoke.signature, args, {}, options, derived_ids(invoke, index))
    messages = [
        calls.message_from_planned(app, call.name, call.args, call.kwargs, {"reply_to": reply_to or "", **call.options})
        for call in planned.calls
    ]
    content_type = messages[0].content_type if messages else "json"
    openings = [opening_of(app, chord.group_id, chord.size, chord.body, content_type) for chord in planned.chords]
    return Sent(messages, planned.child.as_tuple(), openings)


def is_workflow(signature: Signature) -> bool:
    """Tell whether a signature stands for several tasks."""
    return signature.get("subtask_type") in _WORKFLOWS


def derived_ids(invoke: Invoke, index: int) -> Callable[[], str]:
    """Return what makes ids for a workflow that has none yet: the same ones whenever its parent ends."""
    first = uuid.UUID(calls.derived_id(invoke, index))
    numbers = itertools.count()
    return lambda: str(uuid.uuid5(first, str(next(numbers))))


def failed_request(request: Request, invoke: Invoke) -> Request:
    """Return the request that an errback is told of: of what failed, which need not be the task that ran."""
    failed = invoke.failed
    if failed is None:
        return request
    options = failed.get("options") or {}
    return replace(
        request,
        id=options.get("task_id") or "",
        task=failed["task"],
        args=failed.get("args") or (),
        kwargs=failed.get("kwargs") or {},
        group=options.get("group_id"),
        group_index=options.get("group_index"),
        parent_id=request.id,
        callbacks=None,
        errbacks=None,
        chain=None,
        chord=options.get("chord"),
        retries=0,
        children=[],
    )


# -- chords -----------------------------------------------------------------------------------------------------------


def part_of(app: Celeriac, join: Join, serializer: str) -> Part:
    """Write down how a member of a chord has ended; `serializer`: name or content type for the body.

    Raises `EncodeError` for a result that is no plain data, `MessageTooLarge`.
    """
    settings = app.settings
    payload = chord_part.encode(EndedMember(join.member_id, join.state, join.result), app.content.results)
    if len(payload) > settings.result_max_bytes:
        raise MessageTooLarge(
            f"the result of task {join.member_id} has {len(payload)} bytes, over result_max_bytes ="
            f" {settings.result_max_bytes}: return a reference to the data instead of the data"
        )
    body = chord_part.encode_body(join.body, serializer, app.content.keys) if join.body is not None else b""
    return Part(join.group_id, join.member_id, join.index, payload, settings.chord_expires_s, body)


def read_chord(app: Celeriac, joined: Joined, body: Signature | None) -> ChordEnded:
    """Open a chord that is complete; `body` is the signature in the message of the member that ended last.

    A part that can't be read is a member that failed.  Raises `DecodeError` when there is no body anywhere.
    """
    if joined.body:
        body = chord_part.decode_body(joined.body, app.settings.accept_content, app.content.keys)
    elif body is None:
        body = _stored_body(app, joined.group_id)
    if joined.problem:
        return ChordEnded(joined.group_id, [], dict(body), WorkerLostError(joined.problem))
    members = [_member_of(app, part) for part in joined.parts]
    if joined.structure is not None and not any(member.failed for member in members):
        members = _structured(app, joined.structure, members)
    return ChordEnded(joined.group_id, members, dict(body))


def _member_of(app: Celeriac, part: bytes) -> EndedMember:
    try:
        return chord_part.decode(part, app.content.results)
    except CeleriacError as error:
        return EndedMember("with a part that can't be read", states.FAILURE, error)


def may_be_member(app: Celeriac, message: Message) -> bool:
    """Tell whether a message that can't be opened may belong to a chord; when that can't be asked now, it may."""
    group_id = message.headers.get("group")
    if not (group_id and isinstance(group_id, str) and app.backend.counts_chords):
        return False
    try:
        return any(state.size is not None for state in app._reader.chords([group_id]))
    except OperationalError:
        return True


def _stored_body(app: Celeriac, group_id: str) -> Signature:
    for state in app._reader.chords([group_id]):
        if state.body:
            return chord_part.decode_body(state.body, app.settings.accept_content, app.content.keys)
    raise DecodeError(f"the body of chord {group_id} is not known any more")


def _structured(app: Celeriac, structure: bytes, members: list[EndedMember]) -> list[EndedMember]:
    """Return the members of a header as a sender of Celery's nested it.

    Where not every task in it has a part of its own, it is only what a user has saved of a chord of ours: the members stay as they are.
    """
    from celeriac.client.group_result import group_from_document

    values = {member.id: member.result for member in members}
    try:
        header = group_from_document(app, structure)
        return [EndedMember(child.id, states.SUCCESS, _value_of(child, values)) for child in header.results]
    except (CeleriacError, KeyError):
        return members


def _value_of(result: ResultBase[Any], values: Mapping[str, Any]) -> Any:
    children: Any = getattr(result, "results", None)
    return values[result.id] if children is None else [_value_of(child, values) for child in children]


# -- results of what does not run -------------------------------------------------------------------------------------


def foregone_record(app: Celeriac, keep: Keep, cause: Request) -> Record:
    """Write down the end of a task that will never run because of another one, which it names as its parent."""
    settings = app.settings
    meta = result_meta.ResultMeta(
        status=keep.state,
        result=keep.result,
        traceback=keep.traceback,
        children=None,
        date_done=to_header(app.time_source.time()),
        parent_id=cause.id,
        task_id=keep.id,
    )
    payload = result_meta.encode(meta, max_bytes=settings.result_max_bytes, form=app.content.results)
    return Record(keep.id, keep.state, payload, settings.expires_of(keep.state), cause.reply_to or "")
