"""Publishing for coroutines: one thread sends what all of them hand over, many messages in one round trip."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from typing import Final

from msgspec import Struct

from celeriac.client.publish_buffer import PublishBuffer
from celeriac.client.publisher import Publisher, RetryPolicy
from celeriac.core.message import Message
from celeriac.exceptions import BrokerFull, BrokerUnavailable, PublishBufferFull, PublishTimeout, Unroutable

BATCH_MAX: Final = 1000
"""Messages in one round trip; beyond that a batch only gets slower to confirm, not cheaper."""
WAITING_MAX: Final = 10_000
"""Messages that may wait for the thread. Callers beyond it wait in their own coroutine, so that a broker which is away
can't make this queue grow without end."""
ROOM_CHECK_S: Final = 0.005
"""How often such a caller looks for room."""
CALLER_GRACE_S: Final = 0.5
"""What a caller waits beyond its deadline for the thread to say how its publish ended."""


class _Entry(Struct):
    message: Message
    policy: RetryPolicy
    deadline: float
    """By `time.monotonic`."""
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[None]


class AsyncPublisher:
    """Publishes what coroutines hand over.

    Duties of its one daemon thread: 1. take everything that waits; 2. publish it in one call; 3. wake the callers, each with
    success or its own error; 4. end when the publisher is closed, after what was handed over before.
    """

    def __init__(self, publisher: Publisher | PublishBuffer) -> None:
        self._publisher = publisher
        self._waiting: queue.SimpleQueue[_Entry | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._closed = False

    async def publish(self, message: Message, timeout_s: float, policy: RetryPolicy) -> None:
        """Send one message within `timeout_s` seconds; the errors are `Publisher.publish`'s.

        Cancelling the caller does no harm: its message is left out, or sent all the same if it was on its way.
        """
        loop = asyncio.get_running_loop()
        deadline = time.monotonic() + timeout_s
        while self._waiting.qsize() >= WAITING_MAX:
            if time.monotonic() >= deadline:
                raise _too_late(message)
            await asyncio.sleep(ROOM_CHECK_S)
        self._start()
        future: asyncio.Future[None] = loop.create_future()
        self._waiting.put(_Entry(message, policy, deadline, loop, future))
        try:
            async with asyncio.timeout(deadline - time.monotonic() + CALLER_GRACE_S):
                await future
        except TimeoutError:
            raise PublishTimeout(
                f"task {message.task}[{message.id}] was not confirmed within {timeout_s:g} s and may or may not have"
                " arrived; calling again with the same task_id is safe"
            ) from None

    def close(self, timeout_s: float) -> None:
        """Send what was handed over, within `timeout_s` seconds, and end the thread. Idempotent, blocking."""
        with self._starting:
            self._closed = True
            thread, self._thread = self._thread, None
        if thread is not None:
            self._waiting.put(None)
            thread.join(timeout_s)

    def _start(self) -> None:
        if self._thread is not None:
            return
        with self._starting:
            if self._closed:
                raise RuntimeError("the app was closed while a call was being sent")
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="celeriac-publisher", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        going_on = True
        while going_on:
            entries, going_on = self._take()
            # Calls with a retry policy of their own can't share the fate of others.
            by_policy: dict[RetryPolicy, list[_Entry]] = {}
            for entry in entries:
                by_policy.setdefault(entry.policy, []).append(entry)
            for policy, group in by_policy.items():
                self._send(group, policy)

    def _take(self) -> tuple[list[_Entry], bool]:
        """Wait for the first entry and take all that is there; False at the end when the thread is to stop."""
        entry = self._waiting.get()
        entries: list[_Entry] = []
        while entry is not None:
            entries.append(entry)
            if len(entries) >= BATCH_MAX:
                return entries, True
            try:
                entry = self._waiting.get_nowait()
            except queue.Empty:
                return entries, True
        return entries, False

    def _send(self, entries: list[_Entry], policy: RetryPolicy) -> None:
        now = time.monotonic()
        live = []
        for entry in entries:
            if entry.future.cancelled():
                continue
            if entry.deadline <= now:
                _wake([entry], _too_late(entry.message))
            else:
                live.append(entry)
        if not live:
            return
        timeout_s = max(entry.deadline for entry in live) - now
        try:
            self._publisher.publish([entry.message for entry in live], timeout_s, policy)
        except PublishBufferFull as error:
            if len(live) > 1:  # for some of them there may be room
                for entry in live:
                    self._send([entry], policy)
            else:
                _wake(live, error)
        except Unroutable as error:
            _wake([entry for entry in live if entry.message.id not in error.ids], None)
            _wake([entry for entry in live if entry.message.id in error.ids], error)
        except Exception as error:  # whatever it is belongs to the callers; the thread has to go on
            _wake(live, error)
        else:
            _wake(live, None)


def _too_late(message: Message) -> BrokerUnavailable:
    return BrokerUnavailable(
        f"task {message.task}[{message.id}] was not sent: too many calls are waiting for the broker, and its deadline"
        " (publish_timeout_s) passed before its turn came"
    )


def _wake(entries: list[_Entry], error: Exception | None) -> None:
    by_loop: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}
    for entry in entries:
        by_loop.setdefault(entry.loop, []).append(entry.future)
    for loop, futures in by_loop.items():
        try:
            loop.call_soon_threadsafe(_conclude, futures, error)
        except RuntimeError:
            pass  # that loop has been closed, and with it everybody who waited in it


def _conclude(futures: list[asyncio.Future[None]], error: Exception | None) -> None:
    for future in futures:
        if future.done():  # cancelled in the meantime
            continue
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(_own_copy(error))


def _own_copy(error: Exception) -> Exception:
    """Return an exception for one caller alone: one object raised in many places would mix up their tracebacks."""
    if type(error) in (BrokerFull, BrokerUnavailable, PublishTimeout):
        copy = type(error)(*error.args)
        copy.__cause__ = error.__cause__
        return copy
    return error
