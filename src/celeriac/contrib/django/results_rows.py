"""Result documents as rows of django-celery-results, and its rows as documents: Celery reads ours, and we read Celery's.

A JSON document is cut up without looking into its values: the result in its column, and what stood around it in `meta`, so that reading
gives back the very bytes.  A document in any other form (compressed, signed, another serializer) stays whole.
"""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from msgspec import Raw

from celeriac.core.effects import Record
from celeriac.core.settings import Settings
from celeriac.core.states import FAILURE, STARTED
from celeriac.exceptions import CeleriacError
from celeriac.wire import serializers
from celeriac.wire.result_meta import ResultFormat, error_to_wire

Fields = dict[str, Any]

WHOLE: Final = "application/x-celeriac-document"
"""Content type of what is kept as it is."""
_JSON: Final = "application/json"
_AROUND: Final = "celeriac"
"""In `meta`: the document before its result, and after it."""
_RESULT: Final = b'"result":'
_GROUP: Final = ('{"result": ', "}")
"""What stands around the result of a group."""
_NAME_MAX: Final = 255
_WORKER_MAX: Final = 100


def task_fields(record: Record, now: datetime) -> Fields:
    """Return the columns of a record that is stored now, without its id."""
    columns: Fields = {"status": record.state, "date_done": now}
    if record.state == STARTED:
        columns["date_started"] = now
    cut = _cut(record.payload)
    if cut is None:
        return columns | _whole(record.payload) | {"meta": None}
    head, result, tail, document = cut
    meta = {"children": document.get("children"), _AROUND: [head, tail]}
    return columns | {
        "content_type": _JSON,
        "content_encoding": "utf-8",
        "result": result,
        "traceback": _clean(_string(document.get("traceback"))),
        "meta": msgspec.json.encode(meta).decode(),
        "task_name": _clean(_string(document.get("name")), _NAME_MAX),
        "task_args": _shown(document.get("args")),
        "task_kwargs": _shown(document.get("kwargs")),
        "worker": _clean(_string(document.get("worker")), _WORKER_MAX),
        "periodic_task_name": _clean(_string(document.get("periodic_task_name")), _NAME_MAX),
    }


def group_fields(payload: bytes) -> Fields:
    """Return the columns of a saved group."""
    cut = _cut(payload)
    if cut is None or (cut[0], cut[2]) != _GROUP:
        return _whole(payload)
    return {"content_type": _JSON, "content_encoding": "utf-8", "result": cut[1]}


class Documents:
    """Reads rows by the settings of who reads. Thread-safe."""

    def __init__(self, settings: Settings) -> None:
        accept = settings.accept_content if settings.result_accept_content is None else settings.result_accept_content
        self._form = ResultFormat(serializer=settings.result_serializer, accept=tuple(accept))

    def of_task(self, row: Any) -> bytes:
        """Return the document of a row; one that can't be read becomes that of a failure that says so."""
        if row.content_type == WHOLE:
            return base64.b64decode(row.result)
        document: Fields = {"status": row.status}
        try:
            meta = self._value(row, row.meta)
            meta = meta if isinstance(meta, dict) else {}
            if row.content_type == _JSON and isinstance(around := meta.pop(_AROUND, None), list):
                return "".join((around[0], row.result, around[1])).encode()
            document |= meta
            document |= {"status": row.status, "result": self._value(row, row.result), "traceback": row.traceback}
            document.setdefault("children", [])
            document.setdefault("date_done", row.date_done.astimezone(UTC).isoformat())
            if row.task_name is not None and "name" not in document:
                document |= self._extended(row)
            return self._written(document | {"task_id": row.task_id})
        except CeleriacError as error:
            unread = type(error)(f"the result of task {row.task_id}, stored as {row.status}: {error}")
            failed = {"status": FAILURE, "result": error_to_wire(unread, ResultFormat()), "task_id": row.task_id}
            return msgspec.json.encode(failed)

    def of_group(self, row: Any) -> bytes:
        """Return the document of a saved group. Raises `DecodeError`, `ContentDisallowed`."""
        if row.content_type == WHOLE:
            return base64.b64decode(row.result)
        if row.content_type == _JSON:
            return (row.result or "null").join(_GROUP).encode()
        return self._written({"result": self._value(row, row.result)})

    def _extended(self, row: Any) -> Fields:
        arguments = {name: self._value(row, getattr(row, f"task_{name}")) for name in ("args", "kwargs")}
        return {"name": row.task_name, "worker": row.worker, **arguments}

    def _value(self, row: Any, column: str | None) -> Any:
        if not column:
            return None
        data = base64.b64decode(column) if row.content_encoding == "binary" else column.encode()
        value = serializers.loads(data, row.content_type, row.content_encoding, self._form.accept)
        return error_to_wire(value, self._form) if isinstance(value, BaseException) else value

    def _written(self, document: Fields) -> bytes:
        return serializers.dumps(document, "json").data


def _whole(payload: bytes) -> Fields:
    return {"content_type": WHOLE, "content_encoding": "binary", "result": base64.b64encode(payload).decode()}


def _cut(payload: bytes) -> tuple[str, str, str, dict[str, Raw]] | None:
    """Return a JSON document's text before its result, the result's, and that after it, with all fields; None for any other document."""
    if not payload.startswith(b"{") or b"\0" in payload:
        return None
    try:
        fields = msgspec.json.decode(payload, type=dict[str, Raw])
        result = bytes(fields["result"])
        start = payload.index(_RESULT) + len(_RESULT)
        while payload[start : start + 1] == b" ":
            start += 1
        if not payload.startswith(result, start):  # a field before it holds the same word
            return None
        return payload[:start].decode(), result.decode(), payload[start + len(result) :].decode(), fields
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, ValueError):
        return None


def _shown(value: Raw | None) -> str | None:
    return None if value is None or bytes(value) == b"null" else bytes(value).decode()


def _string(value: Raw | None) -> str | None:
    if value is None:
        return None
    try:
        return msgspec.json.decode(value, type=str)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _clean(text: str | None, limit: int | None = None) -> str | None:
    """Return a text that every database takes: no zero characters, no half characters, not too long."""
    if text is None:
        return None
    return text.replace("\0", "").encode("utf-8", "replace").decode()[:limit]
