"""The tasks of the benchmarks, for both libraries."""

from __future__ import annotations

from typing import Any

from bench.recording import Recorder

QUEUE = "bench"

_recorder = Recorder()


def noop(sent_at: float) -> None:
    """Do nothing but say so."""
    _recorder.record(sent_at)


def answer(number: int) -> int:
    """Have a result."""
    return number


def register(app: Any) -> None:
    """Make them tasks of an app."""
    app.task(name="bench.noop", ignore_result=True)(noop)
    app.task(name="bench.answer")(answer)
