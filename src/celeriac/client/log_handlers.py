"""Handlers that write log records to a file or a stream, and never let their own trouble reach who logs."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from io import TextIOWrapper
from logging.handlers import WatchedFileHandler
from typing import TextIO, cast

Target = str | os.PathLike[str] | TextIO | None
"""Where to: a file's name, a stream, or None for standard error."""


def make_handler(logfile: Target) -> logging.Handler:
    """Return a handler that writes to a file, which it opens again when it was rotated away, or to a stream."""
    if logfile is None:
        return StreamHandler(sys.__stderr__)
    if isinstance(logfile, str | os.PathLike):
        return FileHandler(logfile, encoding="utf-8", errors="backslashreplace")
    return StreamHandler(logfile)


def _write_to_standard_error(handler: logging.Handler, record: logging.LogRecord) -> None:
    """Show there a record that could not be written, and why.

    Not what `logging` does, the whole stack on `sys.stderr`: where that is logged itself, each of the lines would fail in turn.
    """
    error, stream = sys.exc_info()[1], sys.__stderr__
    if stream is not None and logging.raiseExceptions:
        with contextlib.suppress(Exception):
            stream.write(f"a log record could not be written: {error!r}\n{handler.format(record)}\n")


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


class StreamHandler(logging.StreamHandler[TextIO]):
    """Writes to a stream; what goes wrong with that harms nobody who logs."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Show the record on standard error."""
        _write_to_standard_error(self, record)


class FileHandler(WatchedFileHandler):
    """Writes to a file, which it opens again when it was rotated away; what goes wrong with that harms nobody who logs.

    A file that it has to make is for its user alone (0600), whatever the umask; one that is there keeps its mode.
    """

    def _open(self) -> TextIOWrapper:
        opened = open(  # noqa: SIM115 - the handler's own, which closes it
            self.baseFilename, self.mode, encoding=self.encoding, errors=self.errors, opener=_open_private
        )
        return cast("TextIOWrapper", opened)  # the mode is one of a text file

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record; when the file can't be opened again, show it on standard error and try with the next."""
        try:
            super().emit(record)
        except OSError:  # of the opening, which the one above does not catch: whoever logs would get it
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Show the record on standard error."""
        _write_to_standard_error(self, record)
