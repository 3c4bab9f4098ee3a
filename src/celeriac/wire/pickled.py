"""Pickle, for programs that ask for it: whoever can write into the broker can run code in what reads it."""

from __future__ import annotations

import io
import pickle
from typing import Any, Final

from celeriac import exceptions
from celeriac.exceptions import DecodeError, EncodeError, SoftTimeLimitExceeded

PROTOCOL: Final = 4
"""Celery's."""

_THEIR_ERRORS: Final = frozenset({"celery.exceptions", "billiard.exceptions", "kombu.exceptions"})


def dumps(value: Any) -> bytes:
    """Write `value` as pickle. Raises `EncodeError` for what cannot be pickled."""
    try:
        return pickle.dumps(value, protocol=PROTOCOL)
    except SoftTimeLimitExceeded:  # the task's time is over, wherever it is just now: no fault of the value
        raise
    except Exception as error:  # a value's own __reduce__ may raise anything
        raise EncodeError(f"cannot be pickled: {type(error).__name__}: {error}") from error


def loads(data: bytes) -> Any:
    """Read pickle, which runs what its writer says. Raises `DecodeError` whatever goes wrong."""
    try:
        return _Reader(io.BytesIO(data)).load()
    except SoftTimeLimitExceeded:
        raise
    except Exception as error:  # it may call anything
        raise DecodeError(f"no valid pickle: {type(error).__name__}: {error}") from error


class _Reader(pickle.Unpickler):
    """Takes what Celery writes by names of its own, so that Celery need not be installed here."""

    def find_class(self, module: str, name: str) -> Any:
        if module in _THEIR_ERRORS and isinstance(found := getattr(exceptions, name, None), type):
            return found
        if (module, name) == ("celery.canvas", "signature"):
            return dict
        return super().find_class(module, name)
