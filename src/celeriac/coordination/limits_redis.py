"""Limits kept in Redis, one script for each call."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from celeriac.core.limits import Answer, Hold, Question, Renewal, Terms
from celeriac.core.message import Delayed
from celeriac.core.settings import Settings
from celeriac.exceptions import CoordinationUnavailable
from celeriac.transports.redis.address import parse_address
from celeriac.transports.redis.blocking import Pool
from celeriac.transports.redis.cluster import key_options
from celeriac.transports.redis.connection import Connection
from celeriac.transports.redis.errors import Translator
from celeriac.transports.redis.options import text_option
from celeriac.transports.redis.protocol import Word

QUESTIONS_AT_ONCE: Final = 200


def _base_key(url: str, settings: Settings) -> str:
    options = key_options(url, settings.broker_transport_options)
    return f"{text_option(options, 'global_keyprefix', '')}celeriac:limits"


class RedisLimits:
    """A `LimitStore` in Redis, on a connection of its own. Belongs to one event loop."""

    def __init__(self, url: str, settings: Settings) -> None:
        self._address = parse_address(url, settings.broker_transport_options)
        self._errors = Translator(self._address, CoordinationUnavailable)
        self._base = _base_key(url, settings)
        self._lease_s = settings.worker_lease_s
        self._timeout_s = settings.broker_connection_timeout
        self._connection: Connection | None = None
        self._connecting = asyncio.Lock()
        self._closed = False

    async def ask(
        self, owner: str, questions: Sequence[Question], terms: Terms, asked_at: float
    ) -> tuple[list[Answer], list[Delayed]]:
        """See `LimitStore.ask`."""
        answers: list[Answer] = []
        woken: list[Delayed] = []
        for start in range(0, len(questions), QUESTIONS_AT_ONCE):
            words: list[Word] = [repr(asked_at), repr(terms.near_s), repr(terms.horizon_s), int(terms.wakes)]
            for question in questions[start : start + QUESTIONS_AT_ONCE]:
                words += _question_words(question)
            answered, told = await self._run("ask", owner, words)
            answers += _answers(answered)
            woken += _waiters(told)
        return answers, woken

    async def free(self, owner: str, holds: Sequence[Hold]) -> list[Delayed]:
        """See `LimitStore.free`."""
        return _waiters(await self._run("free", owner, _hold_words(holds)))

    async def quit(self, places: Sequence[Hold]) -> list[Delayed]:
        """See `LimitStore.quit`."""
        return _waiters(await self._run("quit", "", _hold_words(places)))

    async def parked(self, places: Sequence[Hold]) -> list[Delayed]:
        """See `LimitStore.parked`."""
        words: list[Word] = []
        for place in places:
            words += (place.key, place.holder)
        return _waiters(await self._run("parked", "", words))

    async def renew(self, owner: str, holds: Sequence[Hold], watched: Mapping[str, int]) -> Renewal:
        """See `LimitStore.renew`."""
        words: list[Word] = [len(holds), *_hold_words(holds)]
        for key, permits in watched.items():
            words += (key, permits)
        told, rates = await self._run("renew", owner, words)
        names = iter(rates)
        return Renewal(_waiters(told), {task.decode(): rate.decode() for task, rate in zip(names, names, strict=True)})

    async def rates(self) -> dict[str, str]:
        """See `LimitStore.rates`."""
        with self._errors:
            found = await (await self._connected()).call("HGETALL", f"{self._base}:rates")
        return {task.decode(): rate.decode() for task, rate in found.items()}

    async def leave(self, owner: str) -> None:
        """See `LimitStore.leave`."""
        await self._run("leave", owner, [])

    async def close(self) -> None:
        """Close the connection; idempotent."""
        self._closed = True
        if self._connection is not None:
            self._connection.close()

    async def _run(self, action: str, owner: str, words: Sequence[Word]) -> Any:
        with self._errors:
            connection = await self._connected()
            script = connection.scripts.limits
            return await connection.run_surely(script, [self._base], action, owner, repr(self._lease_s), *words)

    async def _connected(self) -> Connection:
        async with self._connecting:
            if self._connection is not None and self._connection.is_open:
                await self._connection.confirm(self._address)
            if self._connection is None or not self._connection.is_open:
                if self._closed:
                    raise CoordinationUnavailable(f"the limits at {self._address.shown} are closed")
                self._connection = await Connection.connect(self._address, self._timeout_s)
            return self._connection


class RedisRateBoard:
    """A `RateBoard` in Redis. Thread-safe, blocking up to `publish_timeout_s`."""

    def __init__(self, url: str, settings: Settings) -> None:
        address = parse_address(url, settings.broker_transport_options)
        self._errors = Translator(address, CoordinationUnavailable)
        self._key = f"{_base_key(url, settings)}:rates"
        self._timeout_s = settings.publish_timeout_s
        self._pool = Pool(address, settings.broker_connection_timeout)

    def set_rate(self, task: str, rate: str | None) -> None:
        """See `RateBoard.set_rate`."""
        command = ["HDEL", self._key, task] if rate is None else ["HSET", self._key, task, rate]
        with self._errors:
            self._pool.ask(command, deadline=time.monotonic() + self._timeout_s)

    def close(self) -> None:
        """Close the connections; idempotent."""
        self._pool.close()


def _question_words(question: Question) -> list[Word]:
    slot = "" if question.slot is None else repr(question.slot)
    words: list[Word] = [question.holder, question.task_id, question.queue]
    words += [question.permits_key or "", question.permits]
    words += [question.pace_key or "", repr(question.interval_s), slot]
    words.append("" if question.expires_at is None else repr(question.expires_at))
    return words


def _hold_words(holds: Sequence[Hold]) -> list[Word]:
    words: list[Word] = []
    for hold in holds:
        words += (hold.key, hold.permits, hold.holder)
    return words


def _answers(reply: Sequence[Any]) -> list[Answer]:
    parts = iter(reply)
    return [
        Answer(starts == 1, float(after_s), float(slot) if slot else None, float(due) if due else None)
        for starts, after_s, slot, due in zip(parts, parts, parts, parts, strict=True)
    ]


def _waiters(reply: Sequence[bytes]) -> list[Delayed]:
    parts = iter(reply)
    return [
        Delayed(queue.decode(), task_id.decode(), float(due))
        for queue, task_id, due in zip(parts, parts, parts, strict=True)
    ]
