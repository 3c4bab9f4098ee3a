"""What a driver asks of a library's client, in terms of the few calls in which libraries differ."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from typing import Any, Final, NoReturn

from bench.deeds import record

BATCH: Final = 1000
"""Tasks of one batch call."""
CALLERS: Final = 100
"""Coroutines that send at a time."""
FETCH_S: Final = 120.0
"""So long a client waits for a result."""


class Unsupported(Exception):
    """The library has no documented way to do this."""


def delays(count: int, least_s: float, most_s: float) -> list[float]:
    """The delays of so many tasks, in seconds: evenly spread, in an order that is no order, and each time the same."""
    step = (most_s - least_s) / max(count - 1, 1)
    spread = [least_s + step * number for number in range(count)]
    random.Random(count).shuffle(spread)
    return spread


class Client:
    """A library's client; a subclass says how one task, many tasks and results are handled, and inherits what is measured.

    All methods block. What a library can not do raises `Unsupported`.
    """

    # -- what a library has to say --------------------------------------------------------------------------------

    def send(self, task: str, *arguments: Any) -> Any:
        """Send one task the usual way, and return what its result is asked of."""
        raise NotImplementedError

    def send_later(self, delay_s: float, task: str, *arguments: Any) -> None:
        """Send one task that is to run after `delay_s` seconds."""
        self._lacks("delayed tasks")

    def send_many(self, task: str, calls: Sequence[tuple[Any, ...]]) -> Sequence[Any]:
        """Send one task for each item of `calls`, by the quickest way that the library documents; returns as `send`, for each."""
        self._lacks("a batch call")

    def values(self, handles: Sequence[Any]) -> list[Any]:
        """Fetch the results of what was sent, in order."""
        self._lacks("results")

    def send_chord(self, count: int, sent_at: float) -> None:
        """Send `count` tasks `answer` and `collect` after them, which gets their results, `count` and `sent_at`."""
        self._lacks("chords")

    def ask(self) -> None:
        """Ask the worker whether it is there, and wait for its answer."""
        self._lacks("remote control")

    def close(self) -> None:
        """Close all connections."""

    # -- what is measured -----------------------------------------------------------------------------------------

    def one_by_one(self, count: int) -> None:
        """Send so many no-op tasks, each call waiting for the one before."""
        send = self.send
        for _ in range(count):
            send("noop", time.monotonic())

    def batch(self, count: int) -> None:
        """Send so many no-op tasks in batches of `BATCH`."""
        for start in range(0, count, BATCH):
            size = min(BATCH, count - start)
            self.send_many("noop", [(time.monotonic(),) for _ in range(size)])

    def group(self, count: int) -> None:
        """Send so many no-op tasks as one group."""
        self._lacks("groups")

    def gather(self, count: int) -> None:
        """Send so many no-op tasks from `CALLERS` coroutines at a time."""
        self._lacks("coroutines")

    def fill(self, count: int) -> None:
        """Send so many no-op tasks by the quickest way there is."""
        for way in (self.batch, self.gather):
            try:
                return way(count)
            except Unsupported:
                pass
        return self.one_by_one(count)

    def carry(self, count: int, size_bytes: int) -> None:
        """Send so many tasks with an argument of so many bytes."""
        payload = "x" * size_bytes
        for _ in range(count):
            self.send("carry", time.monotonic(), payload)

    def round_trip(self, count: int) -> None:
        """Send so many tasks that have a result, in a batch where there is one, then fetch all results."""
        calls = [(number,) for number in range(count)]
        try:
            handles = self.send_many("answer", calls)
        except Unsupported:
            handles = [self.send("answer", *call) for call in calls]
        self.check(count, self.values(handles))

    def paced(self, count: int, rate_per_s: float) -> None:
        """Send so many no-op tasks at a steady pace."""
        began = time.monotonic()
        for number in range(count):
            time.sleep(max(0.0, began + number / rate_per_s - time.monotonic()))
            self.send("noop", time.monotonic())

    def later(self, count: int, least_s: float, most_s: float) -> None:
        """Send so many no-op tasks that are due after `least_s` to `most_s` seconds; they are told when."""
        for delay_s in delays(count, least_s, most_s):
            self.send_later(delay_s, "noop", time.monotonic() + delay_s)

    def io(self, count: int, seconds: float) -> None:
        """Send so many tasks that wait for so many seconds."""
        for _ in range(count):
            self.send("io", seconds)

    def ping(self, count: int) -> None:
        """Ask the worker so often whether it is there, and put down how long each answer took."""
        for _ in range(count):
            asked_at = time.monotonic()
            self.ask()
            record(asked_at)

    def burn(self, count: int, seconds: float) -> None:
        """Send so many tasks that take all they get of a processor, for so many seconds."""
        for _ in range(count):
            self.send("burn", seconds)

    def chord(self, count: int) -> None:
        """Send a chord with so many members."""
        self.send_chord(count, time.monotonic())

    @staticmethod
    def check(count: int, values: Sequence[Any]) -> None:
        """Raise `AssertionError` unless these are the results of a round trip."""
        assert list(values) == list(range(count)), f"wrong results: {list(values)[:10]}..."

    def _lacks(self, what: str) -> NoReturn:
        raise Unsupported(f"{type(self).__module__} has no {what}")
