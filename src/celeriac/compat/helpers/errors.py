"""`billiard.einfo`, and `reraise`."""

from __future__ import annotations

import sys
import traceback as traceback_module
from types import TracebackType
from typing import Any, NoReturn

from celeriac.client import exception_info

__all__ = ["ExceptionInfo", "ExceptionWithTraceback", "reraise"]


class _MadeOrTaken(type):
    """Has every `einfo` of a worker be one of these, though a program makes them from what it catches."""

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, exception_info.ExceptionInfo)


class ExceptionInfo(exception_info.ExceptionInfo, metaclass=_MadeOrTaken):
    """The exception being handled, or the one given, with its traceback as text."""

    def __init__(self, exc_info: Any = None, internal: bool = False) -> None:
        exception = (exc_info or sys.exc_info())[1]
        if exception is None:
            raise ValueError("ExceptionInfo() without arguments is for `except` blocks: no exception is being handled")
        super().__init__(exception, "".join(traceback_module.format_exception(exception)))
        self.internal = internal


class ExceptionWithTraceback(Exception):
    """What billiard wraps exceptions in to send them home; no worker of ours does."""

    def __init__(self, exc: BaseException, tb: str | TracebackType | None = None) -> None:
        super().__init__(exc)
        self.exc = exc
        self.tb = tb


def reraise(tp: type[BaseException], value: BaseException, tb: TracebackType | None = None) -> NoReturn:
    """Raise `value` with the traceback `tb`."""
    raise value.with_traceback(tb) if value.__traceback__ is not tb else value
