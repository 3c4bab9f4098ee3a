"""Huey: a crash loses what was taken."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from huey import RedisHuey, chord

from bench import deeds
from bench.client import FETCH_S, Client
from bench.place import BROKER_URL, QUEUE

app = RedisHuey(QUEUE, url=BROKER_URL, notify_result=True)
"""Notified of results, a client need not poll for them."""
TASKS: dict[str, Any] = {
    "noop": app.task(name="noop")(deeds.noop),
    "answer": app.task(name="answer")(deeds.answer),
    "carry": app.task(name="carry")(deeds.carry),
    "io": app.task(name="io")(deeds.io),
}
collect: Any = app.task(name="collect")(lambda count, sent_at, numbers: deeds.collect(numbers, count, sent_at))


class HueyClient(Client):
    """A program with Huey."""

    def send(self, task: str, *arguments: Any) -> Any:
        """Send by calling the task."""
        return TASKS[task](*arguments)

    def send_later(self, delay_s: float, task: str, *arguments: Any) -> None:
        """Send with a delay."""
        TASKS[task].schedule(arguments, delay=delay_s)

    def values(self, handles: Sequence[Any]) -> list[Any]:
        """Fetch with `get`."""
        return [handle.get(blocking=True, timeout=FETCH_S) for handle in handles]

    def send_chord(self, count: int, sent_at: float) -> None:
        """Enqueue a chord."""
        members = [TASKS["answer"].s(number) for number in range(count)]
        app.enqueue(chord(members, collect.s(count, sent_at)))

    def close(self) -> None:
        """Close all connections."""
        app.storage.pool.disconnect()


def make_client() -> Client:
    """Return the client."""
    return HueyClient()
