"""Result documents: what stands in a result backend about one task."""

from __future__ import annotations

import contextlib
from typing import Any, Final

import msgspec
from msgspec import UNSET, Struct, UnsetType, field

from celeriac.core.converting import convert
from celeriac.core.states import EXCEPTION_STATES
from celeriac.exceptions import DecodeError, EncodeError, MessageTooLarge
from celeriac.wire import compression, json_text, remote_error, serializers, signing
from celeriac.wire.signing import Keys, Subject

UNFOLDED_MAX_BYTES: Final = 64 * 1024 * 1024
"""What a compressed document may unfold to, unless its format says otherwise."""

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
    periodic_task_name: str | UnsetType | None = UNSET
    """The schedule entry that sent it."""
    stamps: dict[str, Any] = field(default_factory=dict)
    """Each becomes a field of its own in an extended document."""
    task_id: str


class ResultFormat(Struct, frozen=True, kw_only=True):
    """How documents are written, and what is accepted of those that are read."""

    serializer: str = "json"
    accept: tuple[str, ...] = ("json",)
    """Names or content types of serializers."""
    compression: str | None = None
    keys: Keys | None = None
    unfolded_max_bytes: int = UNFOLDED_MAX_BYTES


PLAIN: Final = ResultFormat()


def encode(meta: ResultMeta, *, max_bytes: int, form: ResultFormat = PLAIN) -> bytes:
    """Write the document.

    Raises `EncodeError` when the result is no plain data, `MessageTooLarge` when the document exceeds `max_bytes`.
    """
    result = meta.result
    document: dict[str, Any] = {
        "status": meta.status,
        "result": error_to_wire(result, form) if isinstance(result, BaseException) else result,
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
        if meta.periodic_task_name is not UNSET:
            document["periodic_task_name"] = meta.periodic_task_name
        # A stamp of any name can come from another program; none may stand in the place of the result.
        stamps = {name: value for name, value in meta.stamps.items() if name not in ResultMeta.__struct_fields__}
        if stamps:
            document["stamped_headers"] = list(stamps)
            document.update(stamps)
    document["task_id"] = meta.task_id
    payload = _dumps(document, meta, form)
    if form.compression:
        mime, compressed = compression.compress(payload, form.compression)
        payload = b"".join((_COMPRESSED, mime.encode(), b"\x00", compressed))
    if len(payload) > max_bytes:
        raise MessageTooLarge(
            f"the result of task {meta.task_id} has {len(payload)} bytes, over result_max_bytes = {max_bytes}:"
            " return a reference to the data instead of the data"
        )
    return payload


def _dumps(document: dict[str, Any], meta: ResultMeta, form: ResultFormat) -> bytes:
    # Beside the result and what extends it everything in a document is text of our own.
    if form.serializer == "json" and meta.name is UNSET and json_text.are_scalars((meta.result,)):
        with contextlib.suppress(EncodeError):
            return json_text.dumps_plain(document)
    return serializers.dumps(document, form.serializer, form.keys, _RESULT).data


def decode(payload: bytes, form: ResultFormat = PLAIN) -> ResultMeta:
    """Read a document; in an exception state `result` is the exception.

    Stored documents do not say how they were written: it is `form.serializer` that reads them, and JSON also where that is
    another.  Raises `DecodeError` for what is no document, `ContentDisallowed` for one that is not accepted.
    """
    document = load(payload, form)
    try:
        meta = convert(document, ResultMeta)
    except msgspec.ValidationError as error:
        raise DecodeError(f"no result document: {error}") from None
    stamped = document.get("stamped_headers")
    meta.stamps = {name: document[name] for name in stamped if name in document} if isinstance(stamped, list) else {}
    if meta.status in EXCEPTION_STATES:
        meta.result = remote_error.from_wire(meta.result)
    return meta


def load(payload: bytes, form: ResultFormat) -> Any:
    """Read what was written in this form, or in JSON, compressed or not. Raises `DecodeError`, `ContentDisallowed`."""
    data = uncompressed(payload, form.unfolded_max_bytes)
    serializer = "json" if data.startswith(_JSON) else form.serializer
    content_type = serializers.content_type_of(serializer) or serializer
    return serializers.loads(data, content_type, "", form.accept, form.keys, _RESULT)


def error_to_wire(exc: BaseException, form: ResultFormat) -> Any:
    """Return an exception as it stands in documents of this form."""
    keys = form.keys
    serializer = keys.inner if keys is not None and serializers.is_wrapping(form.serializer) else form.serializer
    if serializer == "pickle":
        return remote_error.to_pickle(exc)
    return remote_error.to_wire(exc, lambda value: serializers.dumps(value, serializer))


_JSON: Final = (b'{"', b"{\n", b"{ ", b"[")
_RESULT: Final = Subject(signing.RESULT, "", "")
"""Documents hold their task's id themselves."""
_EXTENDED: Final = ("name", "args", "kwargs", "worker", "retries", "queue")


def uncompressed(payload: bytes, max_bytes: int = UNFOLDED_MAX_BYTES) -> bytes:
    """Return a document as it was before it was compressed, if it was. Raises `DecodeError`."""
    if not payload.startswith(_COMPRESSED):
        return payload
    mime, found, data = payload[len(_COMPRESSED) :].partition(b"\x00")
    if not found:
        raise DecodeError("no result document: the compression method is cut off")
    return compression.decompress(data, mime.decode("ascii", "replace"), max_bytes)
