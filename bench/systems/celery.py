"""Celery. The settings of a variant are in `bench.catalogue`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from celery import Celery, chord, group

from bench import deeds
from bench.client import FETCH_S, Client
from bench.place import BACKEND_URL, BROKER_URL, OPTIONS, QUEUE

app = Celery("bench", broker=BROKER_URL, backend=BACKEND_URL)
app.conf.update(task_default_queue=QUEUE, broker_connection_retry_on_startup=True, **OPTIONS.get("settings", {}))
app.task(name="noop", ignore_result=True)(deeds.noop)
app.task(name="answer")(deeds.answer)
app.task(name="carry", ignore_result=True)(deeds.carry)
app.task(name="burn", ignore_result=True)(deeds.burn)
app.task(name="collect", ignore_result=True)(deeds.collect)
app.task(name="io", ignore_result=True)(deeds.io)


class CeleryClient(Client):
    """A program with Celery."""

    def send(self, task: str, *arguments: Any) -> Any:
        """Send with `delay`."""
        return app.tasks[task].delay(*arguments)

    def send_later(self, delay_s: float, task: str, *arguments: Any) -> None:
        """Send with a countdown."""
        app.tasks[task].apply_async(arguments, countdown=delay_s)

    def send_many(self, task: str, calls: Sequence[tuple[Any, ...]]) -> Sequence[Any]:
        """Send over one producer, kept for the whole batch: quicker than a `group`."""
        with app.producer_or_acquire() as producer:
            return [app.tasks[task].apply_async(arguments, producer=producer) for arguments in calls]

    def group(self, count: int) -> None:
        """Send a group."""
        group(app.tasks["noop"].s(time.monotonic()) for _ in range(count)).apply_async()

    def values(self, handles: Sequence[Any]) -> list[Any]:
        """Fetch with `get`."""
        return [handle.get(timeout=FETCH_S) for handle in handles]

    def send_chord(self, count: int, sent_at: float) -> None:
        """Send a chord."""
        chord(app.tasks["answer"].s(number) for number in range(count))(app.tasks["collect"].s(count, sent_at))

    def ask(self) -> None:
        """Ask with `control.ping`, which returns with the first answer."""
        assert app.control.ping(limit=1, timeout=FETCH_S)

    def close(self) -> None:
        """Close all connections."""
        app.close()


def make_client() -> Client:
    """Return the client."""
    return CeleryClient()
