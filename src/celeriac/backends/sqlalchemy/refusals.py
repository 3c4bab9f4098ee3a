"""What is stored in place of what the database does not take, so that nobody waits for it for ever."""

from __future__ import annotations

from celeriac.core.effects import Record
from celeriac.core.states import EXCEPTION_STATES, FAILURE, READY_STATES
from celeriac.core.workflow import EndedMember, Part
from celeriac.exceptions import MessageTooLarge
from celeriac.wire import chord_part, result_meta
from celeriac.wire.result_meta import ResultMeta

_DOCUMENT_MAX_BYTES = 64 * 1024


def refused_record(record: Record, why: str) -> Record:
    """Return a record that says why the real one is missing: a failure, where the task had ended."""
    error = MessageTooLarge(f"the result of task {record.id} could not be stored: {why}")
    state = FAILURE if record.state in READY_STATES else record.state
    meta = ResultMeta(status=state, result=error if state in EXCEPTION_STATES else str(error), task_id=record.id)
    return Record(record.id, state, result_meta.encode(meta, max_bytes=_DOCUMENT_MAX_BYTES), record.expires_s)


def refused_part(part: Part, why: str) -> Part:
    """Return the part of a member whose result could not be kept: a failed one, so that the chord ends."""
    error = MessageTooLarge(f"the result of task {part.member_id} could not be kept for its chord: {why}")
    payload = chord_part.encode(EndedMember(part.member_id, FAILURE, error))
    return Part(part.group_id, part.member_id, part.index, payload, part.expires_s, part.body)


def too_large(size: int, limit: int) -> str:
    """Say that a document is larger than what reaches the server."""
    return (
        f"it has {size} bytes, and the database takes at most {limit}, which is half of its max_allowed_packet: raise that, lower"
        " result_max_bytes, or return a reference to the data instead of the data"
    )
