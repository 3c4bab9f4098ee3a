"""What handlers and signals are told about an exception: Celery's `einfo`."""

from __future__ import annotations

from types import TracebackType
from typing import Any

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]


class ExceptionInfo:
    """An exception with its traceback as text; `str()` of it is the traceback."""

    __slots__ = ("exception", "traceback")

    def __init__(self, exception: BaseException, traceback: str | None) -> None:
        self.exception = exception
        self.traceback = traceback or ""

    @property
    def type(self) -> type[BaseException]:
        """The exception's class."""
        return type(self.exception)

    @property
    def tb(self) -> TracebackType | None:
        """The traceback itself, where the exception was raised in this process."""
        return self.exception.__traceback__

    @property
    def exc_info(self) -> ExcInfo:
        """As `sys.exc_info()` gives it, for loggers."""
        return self.type, self.exception, self.tb

    def __str__(self) -> str:
        return self.traceback

    def __repr__(self) -> str:
        return f"<ExceptionInfo: {self.exception!r}>"

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, ExceptionInfo) and (self.exception, self.traceback) == (
            other.exception,
            other.traceback,
        )

    def __hash__(self) -> int:
        return hash((id(self.exception), self.traceback))
