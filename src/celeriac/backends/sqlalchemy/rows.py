"""Documents as rows: each field in Celery's column, what Celery has no column for in one of ours. Pure.

Celery 5.7 keeps each field serialized on its own.  A JSON document is cut up for that, without looking into its values, and
`celeriac_document` keeps what was around the result, so that reading gives back the very bytes.  A document that is not plain JSON
(another serializer, compressed, signed) stays whole in that column, and what Celery finds in its own is no value that it could mistake
for the result.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, Protocol, TypeVar

import msgspec
from msgspec import Raw, Struct

from celeriac.backends.sqlalchemy.keys import key_of
from celeriac.backends.sqlalchemy.tables import KEY_MAX, STATUS_MAX
from celeriac.core.effects import Record
from celeriac.core.states import READY_STATES

_ELSEWHERE: Final = b"<in the column celeriac_document>"
"""Stands in Celery's column for a result that Celery can't read: no serializer takes it for a value."""
_SPLIT: Final = b"s"
_WHOLE: Final = b"w"
_RESULT: Final = b'"result":'
_RETRIES_MAX: Final = 2**31 - 1

Row = dict[str, Any]
T = TypeVar("T")


class Limits(Struct, frozen=True):
    """What this database can take."""

    document_bytes: int | None = None
    """A larger document does not reach it at all."""
    result_bytes: int | None = None
    """Of Celery's columns for values."""
    text_bytes: int | None = None
    """Of Celery's column for tracebacks."""
    whole_seconds: bool = False
    """Its times have no fractions."""


NO_LIMITS: Final = Limits()


class WrittenRow(Protocol):
    """The columns that say who wrote a row last, of a task or a group."""

    @property
    def result(self) -> bytes | None: ...
    @property
    def date_done(self) -> datetime | None: ...
    @property
    def celeriac_document(self) -> bytes | None: ...


def task_row(record: Record, now: float, limits: Limits = NO_LIMITS) -> Row:
    """Return the columns of a record that is stored now (Unix seconds)."""
    fields = _fields(record.payload)
    if fields is None:
        done = datetime.fromtimestamp(now, UTC) if record.state in READY_STATES else None
        row = _celery_columns({}, record.state, done, limits)
        result = _ELSEWHERE
    else:
        row = _celery_columns(fields, _string(fields.get("status")) or record.state, _time(fields), limits)
        result = _bytes(fields.get("result")) or b"null"
        if limits.result_bytes is not None and len(result) > limits.result_bytes:
            result, fields = _ELSEWHERE, None
    mark = _mark(row["status"], row["date_done"], result)
    return {
        **row,
        "task_id": key_of(record.id),
        "result": result,
        "celeriac_document": _kept(mark, record.payload, None if fields is None else result),
        "celeriac_expires_at": None if record.expires_s is None else now + record.expires_s,
        "celeriac_stored_at": now,
    }


def group_row(group_id: str, payload: bytes, expires_s: float | None, now: float, limits: Limits = NO_LIMITS) -> Row:
    """Return the columns of a saved group."""
    fields = _fields(payload)
    result = None if fields is None else _bytes(fields.get("result"))
    if result is not None and limits.result_bytes is not None and len(result) > limits.result_bytes:
        result = None
    shown = _ELSEWHERE if result is None else result
    done = _cut(datetime.fromtimestamp(now, UTC).replace(tzinfo=None), limits)
    return {
        "taskset_id": key_of(group_id),
        "result": shown,
        "date_done": done,
        "celeriac_document": _kept(_mark("", done, shown), payload, result),
        "celeriac_expires_at": None if expires_s is None else now + expires_s,
        "celeriac_stored_at": now,
    }


def own_document(row: WrittenRow, status: str) -> bytes | None:
    """Return the document that we wrote, None when Celery has written the row since, or alone. `status` is "" for a group."""
    kept = row.celeriac_document
    if kept is None:
        return None
    kept = bytes(kept)
    result = bytes(row.result or b"")
    mark, _, rest = kept[1:].partition(b"\n")
    if mark != _mark(status, row.date_done, result):
        return None
    if kept.startswith(_WHOLE):
        return rest
    head, _, tail = rest.partition(b"\0")
    return b"".join((head, result, tail))


def spare_row(row: Row) -> Row:
    """Return the row with nothing but ASCII in Celery's columns for texts: for a table that takes no other. Ours has it all."""
    spare = dict(row)
    for column in ("traceback", "name", "worker", "queue"):
        if (text := spare.get(column)) is not None:
            spare[column] = text.encode("ascii", "replace").decode()
    return spare


def _fields(payload: bytes) -> dict[str, Raw] | None:
    """Return the fields of a JSON document as they are written, None for any other document."""
    if not payload.startswith(b"{"):
        return None
    try:
        fields = msgspec.json.decode(payload, type=dict[str, Raw])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return fields if "result" in fields else None


def _celery_columns(fields: Mapping[str, Raw], status: str, done: datetime | None, limits: Limits) -> Row:
    return {
        "status": _text(status, STATUS_MAX),
        "date_done": None if done is None else _cut(done.astimezone(UTC).replace(tzinfo=None), limits),
        "traceback": _text(_string(fields.get("traceback")), limits.text_bytes),
        "children": _value(fields, "children", limits),
        "name": _text(_string(fields.get("name")), KEY_MAX),
        "args": _value(fields, "args", limits),
        "kwargs": _value(fields, "kwargs", limits),
        "worker": _text(_string(fields.get("worker")), KEY_MAX),
        "retries": _retries(fields.get("retries")),
        "queue": _text(_string(fields.get("queue")), KEY_MAX),
        "stamps": _stamps(fields, limits),
    }


def _kept(mark: bytes, payload: bytes, result: bytes | None) -> bytes:
    """Return what is kept of a document besides its result, or all of it."""
    if result is not None:
        after = payload.find(_RESULT) + len(_RESULT)
        while payload[after : after + 1] == b" ":
            after += 1
        if after > len(_RESULT) and payload.startswith(result, after):
            # No zero byte can stand in JSON text.
            return b"".join((_SPLIT, mark, b"\n", payload[:after], b"\0", payload[after + len(result) :]))
    return b"".join((_WHOLE, mark, b"\n", payload))


def _mark(status: str, done: datetime | None, result: bytes) -> bytes:
    """Return what tells that a row is still as we wrote it: one of these is another when Celery has written."""
    return f"{status} {'' if done is None else done.isoformat()} {len(result)}".encode()


def _value(fields: Mapping[str, Raw], name: str, limits: Limits) -> bytes | None:
    value = _bytes(fields.get(name))
    if value in (None, b"null", b"[]") and not (name == "args" and value == b"[]"):
        return None
    if value is not None and limits.result_bytes is not None and len(value) > limits.result_bytes:
        return None
    return value


def _stamps(fields: Mapping[str, Raw], limits: Limits) -> bytes | None:
    names = _plain(fields.get("stamped_headers"), list[str])
    if not names:
        return None
    stamps = {name: fields[name] for name in names if name in fields}
    written = msgspec.json.encode({"stamped_headers": names, "stamps": stamps})
    return None if limits.result_bytes is not None and len(written) > limits.result_bytes else written


def _time(fields: Mapping[str, Raw]) -> datetime | None:
    text = _string(fields.get("date_done"))
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)


def _cut(time: datetime, limits: Limits) -> datetime:
    return time.replace(microsecond=0) if limits.whole_seconds else time


def _retries(field: Raw | None) -> int | None:
    number = _plain(field, int)
    return None if number is None else max(0, min(number, _RETRIES_MAX))


def _string(field: Raw | None) -> str | None:
    return _plain(field, str)


def _plain(field: Raw | None, kind: type[T]) -> T | None:
    if field is None:
        return None
    try:
        return msgspec.json.decode(field, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _bytes(field: Raw | None) -> bytes | None:
    return None if field is None else bytes(field)


def _text(text: str | None, limit: int | None) -> str | None:
    """Return a text that a column takes: no zero characters (PostgreSQL), no half characters, not too long."""
    if text is None:
        return None
    clean = text.replace("\0", "").encode("utf-8", "replace")
    if limit is not None:
        clean = clean[:limit]
    return clean.decode("utf-8", "ignore")
