"""Celeriac, with its defaults."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from bench import async_deeds, deeds
from bench.client import CALLERS, FETCH_S, Client
from bench.place import BACKEND_URL, BROKER_URL, KIND, OPTIONS, QUEUE
from celeriac import Celeriac, chord, group

app = Celeriac("bench", broker=BROKER_URL, backend=BACKEND_URL, task_default_queue=QUEUE, **OPTIONS)
app.task(name="noop", ignore_result=True)(deeds.noop)
app.task(name="answer")(deeds.answer)
app.task(name="carry", ignore_result=True)(deeds.carry)
app.task(name="burn", ignore_result=True)(deeds.burn)
app.task(name="collect", ignore_result=True)(deeds.collect)
match KIND:
    case "thread":
        app.task(name="io", ignore_result=True, executor="thread")(deeds.io)
    case "async":
        app.task(name="io", ignore_result=True)(async_deeds.io)


class CeleriacClient(Client):
    """A program with Celeriac."""

    def send(self, task: str, *arguments: Any) -> Any:
        """Send with `delay`."""
        return app.tasks[task].delay(*arguments)

    def send_later(self, delay_s: float, task: str, *arguments: Any) -> None:
        """Send with a countdown."""
        app.tasks[task].apply_async(arguments, countdown=delay_s)

    def send_many(self, task: str, calls: Sequence[tuple[Any, ...]]) -> Sequence[Any]:
        """Send with `delay_many`."""
        return app.tasks[task].delay_many(calls)

    def gather(self, count: int) -> None:
        """Send with `adelay`: the coroutines share round trips."""
        asyncio.run(_from_coroutines(count))

    def group(self, count: int) -> None:
        """Send a group."""
        group(app.tasks["noop"].s(time.monotonic()) for _ in range(count)).apply_async()

    def values(self, handles: Sequence[Any]) -> list[Any]:
        """Fetch with `get`."""
        return [handle.get(timeout=FETCH_S) for handle in handles]

    def send_chord(self, count: int, sent_at: float) -> None:
        """Send a chord."""
        members = (app.tasks["answer"].s(number) for number in range(count))
        chord(members)(app.tasks["collect"].s(count, sent_at))

    def ask(self) -> None:
        """Ask with `control.ping`, which returns with the first answer."""
        assert app.control.ping(limit=1, timeout=FETCH_S)

    def close(self) -> None:
        """Close all connections."""
        app.close()


async def _from_coroutines(count: int) -> None:
    noop: Any = app.tasks["noop"]

    async def caller(calls: int) -> None:
        for _ in range(calls):
            await noop.adelay(time.monotonic())

    await asyncio.gather(*(caller(count // CALLERS + (number < count % CALLERS)) for number in range(CALLERS)))


def make_client() -> Client:
    """Return the client."""
    return CeleriacClient()
