"""One connection to Redis for an event loop: many commands under way at once, and what the server says unasked."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, cast

import hiredis
from msgspec import Struct

from celeriac.transports import tls
from celeriac.transports.redis.address import CA_OPTION, Address
from celeriac.transports.redis.durability import Durability
from celeriac.transports.redis.errors import ConnectionLost, OutcomeUnknown, ReplyError
from celeriac.transports.redis.locating import CONFIRM_S, GUIDE_S, master_named, master_question, way_to
from celeriac.transports.redis.protocol import (
    INCOMPLETE,
    Word,
    check_greeting,
    greeting,
    keep_alive,
    make_reader,
    pack,
    pack_all,
    raise_errors,
)
from celeriac.transports.redis.scripts import Script, Scripts, load_scripts

ANSWER_S: Final = 5.0
"""A server that owes an answer and has said nothing for this long is given up, and the connection with it."""

_CHANNEL_ANSWERS: Final = frozenset({b"subscribe", b"unsubscribe", b"psubscribe", b"punsubscribe"})

OnPush = Callable[[list[Any]], None]


def _ignore_push(push: list[Any]) -> None:
    """Nothing was subscribed to."""


class _Waiter(Struct):
    future: asyncio.Future[Any]
    sent_at: float
    pushes: int
    """How many push messages answer the command; 0: it has a reply, as nearly all have."""


class Connection(asyncio.Protocol):
    """One socket to Redis, shared by everything that one event loop wants of it.

    1. Sends each command at once and gives its reply to whoever waits for it, by its place in the order.  So a waiter
       that is cancelled leaves nothing behind: its reply is read and dropped, and never taken for another's.
    2. Hands what the server says unasked (RESP3 push messages) to `on_push`.
    3. Gives up when the server leaves a command unanswered, or says that another server is the one to talk to, and then, or when
       the connection breaks, fails all who wait.

    To be used in the loop in which `connect` was awaited. When it is closed it stays closed: make a new one.
    """

    def __init__(self, on_push: OnPush = _ignore_push) -> None:
        self.on_push = on_push
        self.place: tuple[str, int] = ("", 0)
        self._confirmed_at = asyncio.get_running_loop().time()
        self.version: tuple[int, ...] = ()
        self.scripts: Scripts = load_scripts(())
        self.closed: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """Done, with the reason, when the connection is over."""
        self._reader = make_reader(self._note_sent_away)
        self._sent_away: ReplyError | None = None
        self._waiting: deque[_Waiter] = deque()
        self._heard_at = 0.0
        self._transport: asyncio.Transport | None = None
        self._watch: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()

    @classmethod
    async def connect(cls, address: Address, timeout_s: float, on_push: OnPush = _ignore_push) -> Connection:
        """Connect and log in, asking Sentinels or a cluster where the server is.

        Raises `ConnectionLost`, and `ReplyError` if Redis refuses us.
        """
        if not address.guides:
            return await cls._enter(address, timeout_s, on_push)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        # In any order: one that knows only what was must not be asked first for ever.
        way = way_to(address, random.sample(address.guides, len(address.guides)))
        step = next(way)
        while True:
            left_s = max(deadline - loop.time(), 0.001)
            step_s = step.share_s(left_s)
            connection: Connection | None = None
            try:
                if deadline <= loop.time():
                    raise ConnectionLost("no time was left to ask it")
                connection = await cls._enter(step.address, step_s, on_push)
                async with asyncio.timeout(step_s):
                    reply = await connection.call(*step.command)
            except (ConnectionLost, ReplyError, TimeoutError) as error:
                if connection is not None:
                    connection.close()
                # Asking changes nothing, so its outcome is no matter.
                unsure = isinstance(error, TimeoutError | OutcomeUnknown)
                problem = ConnectionLost(str(error) or "it did not answer in time") if unsure else error
                step = way.throw(problem)  # comes back when there is no other way
                continue
            except BaseException:
                if connection is not None:
                    connection.close()
                raise
            try:
                step = way.send(reply)
            except StopIteration:
                return connection
            except BaseException:
                connection.close()
                raise
            connection.close()

    @classmethod
    async def _enter(cls, address: Address, timeout_s: float, on_push: OnPush) -> Connection:
        connection = cls(on_push)
        connection.place = (address.host, address.port)
        try:
            async with asyncio.timeout(timeout_s):
                await connection._open(address)
                replies = await connection.call_many(greeting(address))
                connection.version = check_greeting(address, replies)
                connection.scripts = load_scripts(connection.version)
        except BaseException as error:
            connection.close()
            if isinstance(error, TimeoutError):
                raise ConnectionLost("no connection within the time") from None
            if isinstance(error, OSError):
                raise ConnectionLost(tls.explain(error, CA_OPTION) or error.strerror or str(error)) from None
            raise
        return connection

    async def confirm(self, address: Address) -> None:
        """Ask a Sentinel, where there are any, whether this still leads to the master; if not, close it and raise `ConnectionLost`.

        A master that was cut off goes on taking itself for one.  No Sentinel that answers: no change.  Asked at most every
        `CONFIRM_S` seconds; takes `GUIDE_S` at most for each Sentinel that is away.
        """
        now = self._loop.time()
        if not address.master_name or now < self._confirmed_at + CONFIRM_S:
            return
        self._confirmed_at = now
        for guide in random.sample(address.guides, len(address.guides)):
            try:
                sentinel = await Connection._enter(guide, GUIDE_S, _ignore_push)
                try:
                    async with asyncio.timeout(GUIDE_S):
                        place = master_named(await sentinel.call(*master_question(address)))
                finally:
                    sentinel.close()
            except (ConnectionLost, ReplyError, TimeoutError):
                continue
            if place is not None:
                if place != self.place:
                    self._end(f"the Sentinels name another master, {place[0]}:{place[1]}")
                    raise ConnectionLost(self.closed.result())
                return

    async def _open(self, address: Address) -> None:
        if address.path is not None:
            await self._loop.create_unix_connection(lambda: self, address.path)
        else:
            context = address.tls.context() if address.tls else None
            await self._loop.create_connection(lambda: self, address.host, address.port, ssl=context)
            assert self._transport is not None
            keep_alive(self._transport.get_extra_info("socket"))

    # -- commands --------------------------------------------------------------------------------------------------

    def call(self, *words: Word) -> asyncio.Future[Any]:
        """Send a command now; the future is its reply, or the `ReplyError` or `ConnectionLost` that came instead."""
        future: asyncio.Future[Any] = self._loop.create_future()
        self._send(pack(*words), [future])
        return future

    async def call_many(self, commands: Sequence[Sequence[Word]]) -> list[Any]:
        """Send commands together and return their replies; errors among them are `ReplyError` objects."""
        futures: list[asyncio.Future[Any]] = [self._loop.create_future() for _ in commands]
        self._send(pack_all(commands), futures)
        replies = await asyncio.gather(*futures, return_exceptions=True)
        for reply in replies:
            if isinstance(reply, ConnectionLost):
                raise reply
        return replies

    async def small_fields(self, key: str, fields: Sequence[str], max_bytes: int) -> list[tuple[str, bytes | int]]:
        """Return those fields of a hash that are there, of those above `max_bytes` only how many bytes they have."""
        sizes = await self.call_many([["HSTRLEN", key, field] for field in fields])
        raise_errors(sizes)
        small = [field for field, size in zip(fields, sizes, strict=True) if size <= max_bytes]
        found: dict[str, bytes | int] = {f: s for f, s in zip(fields, sizes, strict=True) if s > max_bytes}
        if small:
            values = await self.call("HMGET", key, *small)
            found |= {field: value for field, value in zip(small, values, strict=True) if value is not None}
        return [(field, found[field]) for field in fields if field in found]

    def change_channels(self, command: str, channels: Sequence[str]) -> asyncio.Future[Any]:
        """Send SUBSCRIBE or UNSUBSCRIBE (or PSUBSCRIBE, with patterns) now; the future is done when it has been carried out for every channel.

        These are the only commands that Redis answers by push messages, one for each channel, or by one error.
        """
        future: asyncio.Future[Any] = self._loop.create_future()
        self._send(pack(command, *channels), [future], len(channels))
        return future

    def run(self, script: Script, keys: Sequence[str], *args: Word) -> asyncio.Future[Any]:
        """Send a script's call now; the future is its reply. A `ReplyError` NOSCRIPT says that nothing was done."""
        return self.call("EVALSHA", script.sha, len(keys), *keys, *args)

    def run_watching(self, script: Script, keys: Sequence[str], *args: Word) -> asyncio.Future[Any]:
        """As `run`; the server will tell of the next change to each key that the script reads (CLIENT TRACKING)."""
        watched: asyncio.Future[Any] = self._loop.create_future()
        watched.cancel()  # its reply says nothing
        future: asyncio.Future[Any] = self._loop.create_future()
        caching = pack("CLIENT", "CACHING", "YES")
        self._send(caching + pack("EVALSHA", script.sha, len(keys), *keys, *args), [watched, future])
        return future

    async def run_surely(self, script: Script, keys: Sequence[str], *args: Word) -> Any:
        """Run a script, loading it first if the server does not have it (yet, or any more)."""
        try:
            return await self.run(script, keys, *args)
        except ReplyError as error:
            if error.code != "NOSCRIPT":
                raise
        await self.call("SCRIPT", "LOAD", script.source)
        return await self.run(script, keys, *args)

    async def check_durability(self, durability: Durability | None) -> None:
        """See whether the server can do what is wanted, before anything is written. Raises `ReplyError` if not."""
        if durability is None:
            return
        (able,) = await self.call_many([durability.probe])
        if (refusal := durability.refusal(able, self.version)) is not None:
            raise refusal

    async def secure(self, durability: Durability | None) -> str | None:
        """Wait until what was written over this connection is as secure as wanted.

        Returns what is missing for that, None if nothing is: then the writes have been made, but may be lost yet.
        """
        if durability is None:
            return None
        (secured,) = await self.call_many([durability.command(ANSWER_S / 2)])
        return durability.shortfall(secured)

    def close(self) -> None:
        """Drop the connection; idempotent. Those who wait for a reply get an error."""
        self._end("it was closed")

    @property
    def is_open(self) -> bool:
        """Whether commands can be sent."""
        return not self.closed.done()

    def _send(self, packed: bytes, futures: Sequence[asyncio.Future[Any]], pushes: int = 0) -> None:
        if self._transport is None or self.closed.done():
            raise ConnectionLost(self.closed.result() if self.closed.done() else "it is not open")
        sent_at = self._loop.time()
        for future in futures:
            self._waiting.append(_Waiter(future, sent_at, pushes))
        self._transport.write(packed)
        if self._watch is None:
            self._watch = self._loop.call_later(ANSWER_S, self._look_for_silence)

    # -- asyncio.Protocol ------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        reader, waiting = self._reader, self._waiting
        self._heard_at = self._loop.time()
        try:
            reader.feed(data)
            while (reply := reader.gets()) is not INCOMPLETE:
                if isinstance(reply, hiredis.PushNotification):
                    if reply[0] not in _CHANNEL_ANSWERS:
                        self.on_push(reply)
                        continue
                    waiting[0].pushes -= 1
                    if waiting[0].pushes > 0:
                        continue
                future = waiting.popleft().future
                if future.done():  # its waiter was cancelled
                    continue
                if isinstance(reply, ReplyError):
                    future.set_exception(reply)
                else:
                    future.set_result(reply)
        except (hiredis.ProtocolError, IndexError, TypeError) as error:  # TypeError: a mapping as a mapping's key
            self._end(f"it does not speak Redis' protocol: {error}")
        if self._sent_away is not None:
            self._end(f"another server is to be talked to: {self._sent_away}")

    def _note_sent_away(self, error: ReplyError) -> None:
        self._sent_away = error

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(f"the connection broke: {exc}" if exc else "the connection was closed by the server")

    def _look_for_silence(self) -> None:
        self._watch = None
        if not self._waiting or self.closed.done():
            return
        silent_s = self._loop.time() - max(self._waiting[0].sent_at, self._heard_at)
        if silent_s >= ANSWER_S:
            self._end(f"it did not answer within {ANSWER_S:g} s")
        else:
            self._watch = self._loop.call_later(ANSWER_S - silent_s, self._look_for_silence)

    def _end(self, reason: str) -> None:
        if self.closed.done():
            return
        self.closed.set_result(reason)
        if self._watch is not None:
            self._watch.cancel()
        if self._transport is not None:
            self._transport.abort()
        while self._waiting:
            future = self._waiting.popleft().future
            if not future.done():
                future.set_exception(OutcomeUnknown(reason))
