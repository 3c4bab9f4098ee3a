"""Result documents: what stands in a result backend about one task."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import UNSET, Struct, UnsetType, field

from celeriac.core.states import EXCEPTION_STATES
from celeriac.exceptions import DecodeError, MessageTooLarge
from celeriac.wire import compression, json_text, remote_error

UNFOLDED_MAX_BYTES: Final = 64 * 1024 * 1024
"""What a compressed document may unfold to."""

# Celery marks compressed documents so: the magic, the MIME type of the method, a zero byte, the compressed document.
_COMPRESSED: Final = b"\x00celery-compressed\x00"


class ResultMeta(Struct, kw_only=True):
    """One state of one task. Fields that are `UNSET` are left out of the document."""

    status: str
    result: Any = None
    """The value; in an exception state the exception."""
    traceback: str | None = None
    children: list[Any] | None = field(default_factory=list)
    """Result tuples of what the task sent; None when it is stored from outside of a task."""
    date_done: str | None = None
    """ISO 8601 with offset, for ready states."""
    group_id: str | None = None
    """None: left out."""
    parent_id: str | None = None
    """None: left out."""
    name: str | UnsetType | None = UNSET
    args: Any = UNSET
    kwargs: Any = UNSET
    worker: str | UnsetType | None = UNSET
    retries: int | UnsetType | None = UNSET
    queue: str | UnsetType | None = UNSET
    stamps: dict[str, Any] = field(default_factory=dict)
    """Each becomes a field of its own in an extended document."""
    task_id: str


def encode(meta: ResultMeta, *, max_bytes: int) -> bytes:
    """Write the document.

    Raises `EncodeError` when the result is no plain data, `MessageTooLarge` when the document exceeds `max_bytes`.
    """
    result = meta.result
    document: dict[str, Any] = {
        "status": meta.status,
        "result": remote_error.to_wire(result) if isinstance(result, BaseException) else result,
        "traceback": meta.traceback,
        "children": meta.children,
        "date_done": meta.date_done,
    }
    if meta.group_id:
        document["group_id"] = meta.group_id
    if meta.parent_id:
        document["parent_id"] = meta.parent_id
    if meta.name is not UNSET:
        for name in _EXTENDED:
            value = getattr(meta, name)
            document[name] = None if value is UNSET else value
        if meta.stamps:
            document["stamped_headers"] = list(meta.stamps)
            document.update(meta.stamps)
    document["task_id"] = meta.task_id
    payload = json_text.dumps(document)
    if len(payload) > max_bytes:
        raise MessageTooLarge(
            f"the result of task {meta.task_id} has {len(payload)} bytes, over result_max_bytes = {max_bytes}:"
            " return a reference to the data instead of the data"
        )
    return payload


def decode(payload: bytes) -> ResultMeta:
    """Read a document; in an exception state `result` is the exception. Raises `DecodeError` for what is none."""
    document = json_text.loads(_unfolded(payload))
    try:
        meta = msgspec.convert(document, ResultMeta)
    except msgspec.ValidationError as error:
        raise DecodeError(f"no result document: {error}") from None
    stamped = document.get("stamped_headers")
    meta.stamps = {name: document[name] for name in stamped if name in document} if isinstance(stamped, list) else {}
    if meta.status in EXCEPTION_STATES:
        meta.result = remote_error.from_wire(meta.result)
    return meta


_EXTENDED: Final = ("name", "args", "kwargs", "worker", "retries", "queue")


def _unfolded(payload: bytes) -> bytes:
    if not payload.startswith(_COMPRESSED):
        return payload
    mime, found, data = payload[len(_COMPRESSED) :].partition(b"\x00")
    if not found:
        raise DecodeError("no result document: the compression method is cut off")
    return compression.decompress(data, mime.decode("ascii", "replace"), UNFOLDED_MAX_BYTES)
