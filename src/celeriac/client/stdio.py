"""What a program prints becomes log records."""

from __future__ import annotations

import contextlib
import io
import logging
import sys
import threading
import traceback
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Final, TextIO

from celeriac.client.context import Request, current_request, running_request

LINE_MAX_CHARS: Final = 64 * 1024
"""A line that has become longer is logged in parts."""


class _Local(threading.local):
    """What one thread has printed of a line that is not complete."""

    text = ""
    request: Request | None = None
    emitting = False


class LoggingProxy(io.TextIOBase):
    """A text stream that logs each line; Celery's name and arguments.

    What is printed while a record is being written, by a handler for instance, goes to the stream that was there before, so that
    nothing goes round in circles.  Thread-safe: each thread completes its own lines.
    """

    mode = "w"
    name = "<celeriac.redirected>"
    loglevel = logging.ERROR

    def __init__(self, logger: logging.Logger, loglevel: int | str | None = None, stream: TextIO | None = None) -> None:
        """`stream`: where the output went before; standard error if not given."""
        self.logger = logger
        given = loglevel or logger.level or self.loglevel
        self.loglevel = logging.getLevelNamesMapping()[given.upper()] if isinstance(given, str) else given
        self._stream = stream
        self._local = _Local()

    def write(self, data: Any) -> int:
        """Log the lines in `data` that are complete, keep what is left; returns how many characters were taken."""
        text = data if isinstance(data, str) else str(data)
        local = self._local
        if local.emitting:
            self._write_through(text)
            return len(text)
        request = running_request()
        if local.text and local.request is not request:
            self.flush()  # half a line of another task: it is to carry that one's id
        local.request = request
        *lines, rest = (local.text + text).split("\n")
        local.text = rest
        for line in lines:
            self._emit(line)
        if len(local.text) > LINE_MAX_CHARS:
            self.flush()
        return len(text)

    def writelines(self, lines: Iterable[Any]) -> None:
        """Write each of them."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Log what this thread has printed of a line that is not complete."""
        local = self._local
        text, local.text = local.text, ""
        if text and not local.emitting:
            token = current_request.set(local.request)
            try:
                self._emit(text)
            finally:
                current_request.reset(token)

    def _emit(self, line: str) -> None:
        line = line.rstrip()
        if not line:
            return
        local = self._local
        local.emitting = True
        try:
            self.logger.log(self.loglevel, "%s", line)
        except Exception:  # whoever prints has nothing to do with what a handler raises
            self._write_through(f"{line}\n{traceback.format_exc()}")
        finally:
            local.emitting = False

    def _write_through(self, text: str) -> None:
        stream = self._before()
        if stream is not None:
            with contextlib.suppress(OSError, ValueError):  # it was closed
                stream.write(text)

    def _before(self) -> TextIO | None:
        return self._stream if self._stream is not None else sys.__stderr__

    def close(self) -> None:
        """Log what is left; the stream stays usable, for nobody may close what everybody prints to."""
        self.flush()

    def __exit__(
        self, _type: type[BaseException] | None, _exc: BaseException | None, _tb: TracebackType | None
    ) -> None:
        self.close()

    def isatty(self) -> bool:
        """Say no: what is printed is not seen on a terminal as it is."""
        return False

    def writable(self) -> bool:
        """Say yes."""
        return True

    def fileno(self) -> int:
        """Return the file descriptor of the stream before: programs that a task starts inherit it, and C code writes there."""
        stream = self._before()
        if stream is None:
            raise io.UnsupportedOperation("there is no stream behind the log")
        return stream.fileno()

    @property
    def buffer(self) -> Any:
        """The bytes behind the stream before: what is written there goes past the log."""
        return getattr(self._before(), "buffer", None)

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """That of the stream before."""
        return getattr(self._before(), "encoding", None) or "utf-8"


def flush_printed() -> None:
    """Log what this thread has printed of a line that is not complete, where output is logged; cheap when there is nothing."""
    for stream in (sys.stdout, sys.stderr):
        # By its very class: a stream's `isinstance` goes a long way round, and this is asked after every task.
        if type(stream) is LoggingProxy and stream._local.text:
            stream.flush()
