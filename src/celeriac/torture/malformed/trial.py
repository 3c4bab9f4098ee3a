"""How workers bear malformed messages: one at a time among good ones, with an eye on their processes and their memory."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path

import psutil

from celeriac.core.message import DeadLetter
from celeriac.torture.malformed.case import PARKED, Case

GROWTH_MAX_BYTES = 50 * 1024 * 1024
"""What no process of a worker may grow by."""
KEY_WITHIN_BYTES = 500
"""So near to its beginning a body has its first argument."""
REASON_CHARS = 10
"""The shortest reason that tells anything."""


def endure(cases: Iterable[Case], put: Callable[[Case], None], good: Callable[[], bool]) -> list[str]:
    """Send the cases one by one, with a good task after each; return after which of them the good one was not done.

    `good` sends one and tells whether it came to its end in time.  After the third that did not, no more are sent.
    """
    stalled: list[str] = []
    for case in cases:
        put(case)
        if not good():
            stalled.append(case.name)
            if len(stalled) == 3:
                break
    return stalled


class Memory:
    """The processes of a worker from now on: who has died since, and how large each has been."""

    def __init__(self, processes: Collection[psutil.Process]) -> None:
        self._before = {process.pid: _resident_bytes(process.pid, "VmRSS") for process in processes}
        for pid in self._before:
            with contextlib.suppress(OSError):
                Path(f"/proc/{pid}/clear_refs").write_text("5")  # forget the peak so far

    def died(self) -> list[int]:
        """Return the processes that are no more."""
        return [pid for pid in self._before if not psutil.pid_exists(pid)]

    def growth_bytes(self) -> dict[int, int]:
        """Return for each process how much more than now it has ever had since."""
        return {pid: _resident_bytes(pid, "VmHWM") - before for pid, before in self._before.items()}


def not_parked(cases: Iterable[Case], letters: Sequence[DeadLetter]) -> list[str]:
    """Return the cases that are not among the dead letters, or without a reason."""
    kept = {content: letter for letter in letters for content in _contents(letter)}
    missing = []
    for case in cases:
        if case.end != PARKED:
            continue
        letter = next((kept[content] for content in _expected(case) if content in kept), None)
        if letter is None:
            missing.append(case.name)
        elif len(letter.reason) < REASON_CHARS:
            missing.append(f"{case.name} (its reason: {letter.reason!r})")
    return missing


def wrongly_run(cases: Iterable[Case], begun: Collection[str]) -> list[str]:
    """Return the names of cases that ran although they must not; `begun`: all keys of tasks that have begun."""
    ran = [json.dumps(key).encode() for key in begun]
    return [
        case.name for case in cases if case.end == PARKED and any(key in _body(case)[:KEY_WITHIN_BYTES] for key in ran)
    ]


def _body(case: Case) -> bytes:
    return case.raw.body if case.raw is not None else _inside(case.stored) or case.stored


def _contents(letter: DeadLetter) -> list[bytes]:
    return [letter.raw, _inside(letter.raw)] if letter.message is None else [letter.message.body]


def _expected(case: Case) -> list[bytes]:
    return [_body(case), case.stored] if case.stored else [_body(case)]


def _inside(stored: bytes) -> bytes:
    """Return the body in an envelope; nothing where there is none."""
    body = stored.partition(b'"body": "')[2].partition(b'"')[0]
    try:
        return base64.b64decode(body, validate=True)
    except ValueError:
        return b""


def _resident_bytes(pid: int, field: str) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    # One that has ended and is not reaped yet tells no such thing.
    line = next((line for line in status.splitlines() if line.startswith(f"{field}:")), f"{field}: 0 kB")
    return int(line.split()[1]) * 1024
