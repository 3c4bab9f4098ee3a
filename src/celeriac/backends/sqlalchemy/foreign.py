"""Rows that Celery has written, as documents. Pure.

Celery 5.7 keeps each value in the serializer of `result_serializer`.  Celery up to 5.6 keeps results as pickle whatever that setting
says: those are read as far as they are plain data, which runs no code, and otherwise where `result_accept_content` lists pickle.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterable
from datetime import UTC
from typing import Any, Final

from celeriac.core.settings import Settings
from celeriac.core.states import FAILURE
from celeriac.exceptions import CeleriacError, ContentDisallowed, DecodeError
from celeriac.wire import serializers
from celeriac.wire.result_meta import ResultFormat, error_to_wire

PARTS_MAX: Final = 1_000_000
"""Of a pickle: it may name one part many times, and so stand for far more than its size."""

_PICKLES: Final = tuple(b"\x80" + bytes([protocol]) for protocol in range(2, 6))
_EXTENDED: Final = ("name", "args", "kwargs", "worker", "retries", "queue")


class CeleryRows:
    """Reads rows by the settings of who reads."""

    def __init__(self, settings: Settings) -> None:
        accept = settings.accept_content if settings.result_accept_content is None else settings.result_accept_content
        self._form = ResultFormat(serializer=settings.result_serializer, accept=tuple(accept))

    def task_document(self, row: Any, task_id: str) -> bytes:
        """Return the row of a task as a document.

        One that cannot be read becomes the document of a failure that says so: whoever wants the result learns it, and nobody else.
        """
        document: dict[str, Any] = {"status": row.status}
        try:
            document["result"] = self._value(row.result)
            document["traceback"] = row.traceback
            document["children"] = self._value(row.children) or []
            document["date_done"] = None if row.date_done is None else row.date_done.replace(tzinfo=UTC).isoformat()
            if any(getattr(row, name) is not None for name in _EXTENDED):
                document |= self._extended(row)
            document["task_id"] = task_id
            return self._written(document)
        except CeleriacError as error:
            unread = type(error)(f"the result of task {task_id}, stored by Celery as {row.status}: {error}")
            document = {"status": FAILURE, "result": error_to_wire(unread, ResultFormat()), "task_id": task_id}
            return serializers.dumps(document, "json").data

    def group_document(self, row: Any) -> bytes:
        """Return the row of a group as a document. Raises `DecodeError` for one that can't be read, `ContentDisallowed`."""
        return self._written({"result": self._value(row.result)})

    def _extended(self, row: Any) -> dict[str, Any]:
        document = {
            "name": row.name,
            "args": self._value(row.args),
            "kwargs": self._value(row.kwargs),
            "worker": row.worker,
            "retries": row.retries,
            "queue": row.queue,
        }
        stamps = self._value(row.stamps)
        if isinstance(stamps, dict) and isinstance(values := stamps.get("stamps"), dict):
            document["stamped_headers"] = stamps.get("stamped_headers")
            document |= values
        return document

    def _value(self, column: bytes | None) -> Any:
        if column is None:
            return None
        data, form = bytes(column), self._form
        if data.startswith(_PICKLES):
            if not serializers.is_accepted("pickle", form.accept):
                return _plain_data(data)
            serializer = "pickle"
        else:
            serializer = form.serializer
        value = serializers.loads(data, serializers.content_type_of(serializer) or serializer, "", form.accept)
        return error_to_wire(value, form) if isinstance(value, BaseException) else value

    def _written(self, document: dict[str, Any]) -> bytes:
        carrier = self._form.serializer if self._form.serializer in ("json", "pickle", "msgpack", "yaml") else "json"
        return serializers.dumps(document, carrier).data


def _plain_data(data: bytes) -> Any:
    """Read a pickle in which nothing but plain data stands: no class is looked up, so that no code runs."""
    try:
        value = _PlainReader(io.BytesIO(data)).load()
    except ContentDisallowed:
        raise
    except Exception as error:  # a broken pickle raises whatever its broken place leads to
        raise DecodeError(f"no valid pickle: {type(error).__name__}: {error}") from error
    _check_size(value)
    return value


class _PlainReader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        raise ContentDisallowed(
            f"a pickle that holds a {module}.{name}; where everybody who can write to the database is trusted, add 'pickle' to"
            " result_accept_content"
        )


def _check_size(value: Any) -> None:
    left = PARTS_MAX
    waiting: list[Iterable[Any]] = [[value]]
    while waiting:
        for part in waiting.pop():
            left -= 1
            if left < 0:
                raise DecodeError(f"a pickle that stands for more than {PARTS_MAX} values")
            if isinstance(part, dict):
                waiting += [part.keys(), part.values()]
            elif isinstance(part, list | tuple | set | frozenset):
                waiting.append(part)
