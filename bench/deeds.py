"""What the tasks of every library do, so that all do the same."""

from __future__ import annotations

import time
from collections.abc import Sequence

from bench.recording import Recorder

_recorder = Recorder()
record = _recorder.record


def noop(sent_at: float) -> None:
    """Do nothing but say so."""
    record(sent_at)


def answer(number: int) -> int:
    """Have a result."""
    return number


def io(seconds: float) -> None:
    """Wait for something, as a thread; puts down its beginning and its end."""
    began = time.monotonic()
    time.sleep(seconds)
    record(began)


def burn(seconds: float) -> None:
    """Take all there is of a processor; puts down its beginning."""
    began = time.monotonic()
    record(began)
    while time.monotonic() - began < seconds:
        pass


def carry(sent_at: float, _payload: str) -> None:
    """Have a large argument."""
    record(sent_at)


def collect(numbers: Sequence[int], count: int, sent_at: float) -> None:
    """Be the body of a chord: say when it was sent and that all members are there."""
    assert len(numbers) == count, f"{len(numbers)} results of {count} members"
    record(sent_at)
