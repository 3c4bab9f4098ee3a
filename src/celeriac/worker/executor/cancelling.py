"""What an executor hears of tasks that are to be ended: short notes that the core writes into the socket of its reports."""

from __future__ import annotations

import os
import signal
import socket
import struct
import threading
from collections.abc import Callable
from typing import Final

from msgspec import Struct

_NOTE: Final = struct.Struct(">IB")
_NOTES_AT_ONCE: Final = 64

SOFT: Final = signal.SIGUSR1
"""Ends nothing by itself: `SoftTimeLimitExceeded` is raised in the task, which may go on. As in Celery."""
STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP)
"""What an executor takes for the operator's business with the core, unless a note says that it is meant."""


class Cancel(Struct, frozen=True):
    """A job is to be ended."""

    number: int
    """The job's."""
    signum: int


def encode_cancel(cancel: Cancel) -> bytes:
    """Write a note."""
    return _NOTE.pack(cancel.number, cancel.signum)


def receive_cancels(notes: socket.socket, flags: int = 0) -> list[Cancel] | None:
    """Return the notes that have arrived; None when the core has gone. Blocks for the first, unless the flags say otherwise."""
    try:
        data = notes.recv(_NOTE.size * _NOTES_AT_ONCE, flags)
    except BlockingIOError:
        return []
    except OSError:
        return None
    if not data:
        return None
    # A note is written at once and so small that the kernel never splits it.
    return [Cancel(*fields) for fields in _NOTE.iter_unpack(data[: len(data) // _NOTE.size * _NOTE.size])]


def ignore_stop_signal(_signum: int, _frame: object) -> None:
    """Do nothing: stopping is the core's business. A handler and not SIG_IGN, which programs that a task starts would inherit."""


def obey_cancels(notes: socket.socket) -> None:
    """Let a stop signal end this process when a note came with it; called in its main thread.

    A handler that the program has installed itself stays: what it does with the signal is what the program wants.
    """

    def stop(signum: int, _frame: object) -> None:
        if receive_cancels(notes, socket.MSG_DONTWAIT):
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)

    for signum in STOP_SIGNALS:
        if signal.getsignal(signum) is ignore_stop_signal:
            signal.signal(signum, stop)


class CancelListener:
    """Duties of its one daemon thread: read notes and pass each on, until `close` or until the core has gone."""

    def __init__(self, notes: socket.socket, on_cancel: Callable[[Cancel], None]) -> None:
        self._notes = notes
        self._on_cancel = on_cancel
        self._thread = threading.Thread(target=self._listen, name="celeriac-cancels", daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        while (cancels := receive_cancels(self._notes)) is not None:
            for cancel in cancels:
                self._on_cancel(cancel)

    def close(self) -> None:
        """End the thread and wait for it; nothing more is read from the socket, which can still be written to. Idempotent."""
        try:
            self._notes.shutdown(socket.SHUT_RD)
        except OSError:
            pass  # the core has closed its end
        self._thread.join()
