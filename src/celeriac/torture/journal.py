"""The journal: lines that tasks append to a file themselves. What stands there has happened, whatever broker and results say."""

from __future__ import annotations

import json
import os
import threading
import time
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Any

from msgspec import Struct

START, END = "start", "end"


class Line(Struct, frozen=True):
    """One thing that happened in a task."""

    event: str
    key: str
    pid: int
    thread: int
    at: float
    """Unix seconds."""
    more: dict[str, Any]


def record(file: str, event: str, key: str, **more: Any) -> None:
    """Append one line; a write of this size to a file opened for appending is never torn or mixed with another's."""
    line = json.dumps(
        {
            "event": event,
            "key": key,
            "pid": os.getpid(),
            "thread": threading.get_ident(),
            "at": time.time(),
            "more": more,
        }
    )
    descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, f"{line}\n".encode())
    finally:
        os.close(descriptor)


class Journal:
    """Reads a journal file, each time only what is new; keys outside of its scope are passed over."""

    def __init__(self, file: Path, scope: str) -> None:
        self._file = file
        self._scope = scope
        self._offset = 0
        self._lines: list[Line] = []

    @property
    def lines(self) -> list[Line]:
        """Everything so far, in the order of the file."""
        if self._file.exists():
            with self._file.open("rb") as file:
                file.seek(self._offset)
                text = file.read()
            whole = text[: text.rfind(b"\n") + 1]
            self._offset += len(whole)
            lines = [Line(**json.loads(line)) for line in whole.splitlines()]
            self._lines += [line for line in lines if line.key.startswith(self._scope)]
        return self._lines

    def of(self, event: str, key: str | None = None) -> list[Line]:
        """All lines of one kind, or those of one key."""
        return [line for line in self.lines if line.event == event and key in (None, line.key)]

    def starts(self, key: str) -> int:
        """How often it began."""
        return len(self.of(START, key))

    def ends(self, key: str) -> int:
        """How often it came to its end."""
        return len(self.of(END, key))

    def running(self) -> Counter[str]:
        """Keys that have begun more often than ended."""
        return Counter(line.key for line in self.of(START)) - Counter(line.key for line in self.of(END))

    def missing(self, keys: Collection[str]) -> set[str]:
        """Those of `keys` that never came to their end."""
        return set(keys) - {line.key for line in self.of(END)}

    def extra_runs(self) -> int:
        """How many runs came to their end beyond the first of each key."""
        return sum(count - 1 for count in Counter(line.key for line in self.of(END)).values())
