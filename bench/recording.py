"""How tasks tell that they ran: each process appends 16 bytes per run to a file of its own; the same for every system."""

from __future__ import annotations

import os
import struct
import time
from pathlib import Path
from typing import Final

DIRECTORY_VARIABLE: Final = "BENCH_RECORDS"
_RECORD: Final = struct.Struct("<dd")


class Recorder:
    """The writing side, in a process that runs tasks. Opens its file at the first record, so that a fork has one of its own."""

    def __init__(self) -> None:
        self._pid = 0
        self._file = -1

    def record(self, moment: float) -> None:
        """Put down a moment of the task's (when it was sent, say), and now; the monotonic clock is one for all processes."""
        now = time.monotonic()
        if self._pid != os.getpid():
            path = os.path.join(os.environ[DIRECTORY_VARIABLE], str(os.getpid()))
            # In this order, as another thread may be here: it opens the file once more, which does no harm.
            self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            self._pid = os.getpid()
        os.write(self._file, _RECORD.pack(moment, now))


class Records:
    """The reading side: what the tasks of one run have put down."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def count(self) -> int:
        """How many tasks have run; cheap, it looks at sizes only."""
        return sum(file.stat().st_size for file in self._directory.iterdir()) // _RECORD.size

    def read(self) -> list[tuple[float, float]]:
        """Pairs of the task's moment and the moment of the record, by the latter."""
        pairs = (pair for file in self._directory.iterdir() for pair in _RECORD.iter_unpack(file.read_bytes()))
        return sorted(((moment, recorded) for moment, recorded in pairs), key=lambda pair: pair[1])
