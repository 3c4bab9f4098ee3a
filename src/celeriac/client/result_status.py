"""The state in a result's document, read without the rest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec
from msgspec import Struct

from celeriac.exceptions import DecodeError, ImproperlyConfigured
from celeriac.wire import result_meta
from celeriac.wire.result_meta import ResultFormat


class _Status(Struct):
    """The one field that decides whether somebody is to be woken."""

    status: str


_status_decoder: Final = msgspec.json.Decoder(_Status)


def status_of(document: bytes, form: Callable[[], ResultFormat]) -> str:
    """Return the state in a document, without reading the rest where that can be; FAILURE for what is no document."""
    try:
        return _status_decoder.decode(document).status
    except msgspec.DecodeError:
        pass  # compressed, in another form, or no document at all: the careful way tells
    try:
        return result_meta.decode(document, form()).status
    except (DecodeError, ImproperlyConfigured):
        return "FAILURE"  # whoever waits gets the document, and with it the error
