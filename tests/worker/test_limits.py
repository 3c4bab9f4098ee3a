"""Soft time limits, in the main thread and in others, and that they pass through our own code as what they are."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import pytest

from celeriac.exceptions import SoftTimeLimitExceeded
from celeriac.wire import json_text, remote_error
from celeriac.wire.short_repr import short_repr
from celeriac.worker.executor.limits import MainThreadLimit, ThreadLimits

SCANNER = "celeriac-soft-limits"
DEADLINE_S = 60.0


class Slow:
    """A value that takes longer to write or to show than any limit here."""

    def __json__(self) -> NoReturn:
        _linger()

    def __repr__(self) -> NoReturn:
        _linger()


class SlowError(Exception):
    """An exception that takes its time to be built."""

    def __init__(self, *_: object) -> None:
        _linger()


def _linger() -> NoReturn:
    end = time.monotonic() + DEADLINE_S
    while time.monotonic() < end:
        time.sleep(0.01)
    raise AssertionError("no limit came")


@pytest.fixture
def main_limit() -> Iterator[MainThreadLimit]:
    before = signal.getsignal(signal.SIGALRM)
    try:
        yield MainThreadLimit()
    finally:
        signal.signal(signal.SIGALRM, before)


SLOW_ERROR = {"exc_type": "SlowError", "exc_module": __name__, "exc_message": []}


@pytest.mark.parametrize(
    ("function", "argument"),
    [
        (json_text.dumps, [Slow()]),
        (json_text._find_foreign, [Slow()]),
        (short_repr, [Slow()]),
        (remote_error.from_wire, SLOW_ERROR),
        (remote_error._joined, (Slow(),)),
    ],
    ids=["dumps", "find_foreign", "short_repr", "from_wire", "text"],
)
def test_a_limit_inside_our_own_code_stays_what_it_is(
    main_limit: MainThreadLimit, function: Callable[[Any], object], argument: object
) -> None:
    with pytest.raises(SoftTimeLimitExceeded), main_limit(0.05):
        function(argument)


def scanners() -> int:
    return sum(thread.name == SCANNER for thread in threading.enumerate())


def test_thread_limits_have_a_thread_from_the_first_limit_to_the_end() -> None:
    others = scanners()  # an executor thread that another test had to give up keeps its own
    limits = ThreadLimits()
    with limits(None):
        assert scanners() == others
    for _ in range(2):
        with pytest.raises(SoftTimeLimitExceeded), limits(0.05):
            _linger()
    assert scanners() == others + 1
    limits.close()
    limits.close()
    assert scanners() == others


def test_thread_limits_close_at_the_end_of_a_with_block() -> None:
    others = scanners()
    with ThreadLimits() as limits:
        with limits(DEADLINE_S):
            assert scanners() == others + 1
    assert scanners() == others
