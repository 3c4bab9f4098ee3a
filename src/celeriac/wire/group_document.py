"""The document of a saved group, Celery's: which results it consists of, as the tuple form of a result."""

from __future__ import annotations

from typing import Any, Final

from celeriac.exceptions import DecodeError
from celeriac.wire import serializers, signing
from celeriac.wire.result_meta import PLAIN, ResultFormat, load
from celeriac.wire.signing import Subject

_SUBJECT: Final = Subject(signing.RESULT, "", "")
"""Documents hold their group's id themselves."""


def encode(written: Any, form: ResultFormat = PLAIN) -> bytes:
    """Write the document of a group; `written` is its tuple form. Raises `EncodeError`."""
    return serializers.dumps({"result": written}, form.serializer, form.keys, _SUBJECT).data


def decode(payload: bytes, form: ResultFormat = PLAIN) -> Any:
    """Return the tuple form in a document. Raises `DecodeError` for what is none, `ContentDisallowed` for one that is not accepted."""
    document = load(payload, form)
    if not (isinstance(document, dict) and "result" in document):
        raise DecodeError("no document of a group: it holds no result")
    return document["result"]
