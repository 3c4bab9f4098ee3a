"""Publishing for coroutines: one thread sends what all of them hand over, many messages in one round trip."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Sequence
from itertools import groupby
from typing import Final

from celeriac.client.publish_buffer import PublishBuffer
from celeriac.client.publish_lane import Entry, Lane, too_late
from celeriac.client.publisher import Publisher, RetryPolicy
from celeriac.core.message import Message
from celeriac.exceptions import PublishBufferFull, Unroutable

BATCH_MAX: Final = 1000
"""Messages in one round trip; beyond that a batch only gets slower to confirm, not cheaper."""


class AsyncPublisher:
    """Publishes what coroutines hand over.

    Duties of its one daemon thread: 1. take everything that waits; 2. publish it in one call; 3. wake the callers, each with
    success or its own error; 4. end when the publisher is closed, after what was handed over before.
    """

    def __init__(self, publisher: Publisher | PublishBuffer) -> None:
        self._publisher = publisher
        self._lanes: dict[int, Lane] = {}
        """That of the event loop which runs in a thread, by the thread's id; one loop takes the place of another."""
        self._waiting: queue.SimpleQueue[list[Entry] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._changing = threading.Lock()
        self._closed = False

    async def publish(
        self, message: Message, timeout_s: float, policy: RetryPolicy, since: float | None = None
    ) -> None:
        """Send one message within `timeout_s` seconds (from `since`, monotonic, or now); the errors are `Publisher.publish`'s.

        Cancelling the caller does no harm: its message is left out, or sent all the same if it was on its way.
        """
        lane = self._lane()
        deadline = (time.monotonic() if since is None else since) + timeout_s
        await lane.room(message, deadline)
        await lane.add(message, policy, deadline)

    def close(self, timeout_s: float) -> None:
        """Send what was handed over, within `timeout_s` seconds, and end the thread. Idempotent, blocking."""
        lane = self._lanes.get(threading.get_ident())
        if lane is not None:
            lane.pass_on()
        with self._changing:
            self._closed = True
            thread, self._thread = self._thread, None
            self._waiting.put(None)
        if thread is not None:
            thread.join(timeout_s)

    def _lane(self) -> Lane:
        lane = self._lanes.get(threading.get_ident())
        if lane is None or lane.loop is not asyncio.get_running_loop():
            lane = self._lanes[threading.get_ident()] = Lane(self._hand_over)
        return lane

    def _hand_over(self, entries: list[Entry]) -> None:
        with self._changing:
            if not self._closed:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="celeriac-publisher", daemon=True)
                    self._thread.start()
                self._waiting.put(entries)
                return
        entries[0].lane.conclude(entries, RuntimeError("the app was closed while a call was being sent"))

    # -- the thread ---------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        going_on = True
        while going_on:
            entries, going_on = self._take()
            # Calls with a retry policy of their own can't share the fate of others.
            for policy, alike in groupby(entries, lambda entry: entry.policy):
                self._send_all(list(alike), policy)

    def _take(self) -> tuple[list[Entry], bool]:
        """Wait for the first entries and take all that is there; False at the end when the thread is to stop."""
        some = self._waiting.get()
        entries: list[Entry] = []
        while some is not None:
            entries += some
            if len(entries) >= BATCH_MAX:
                return entries, True
            try:
                some = self._waiting.get_nowait()
            except queue.Empty:
                return entries, True
        return entries, False

    def _send_all(self, entries: list[Entry], policy: RetryPolicy) -> None:
        for start in range(0, len(entries), BATCH_MAX):
            self._send(entries[start : start + BATCH_MAX], policy)

    def _send(self, entries: list[Entry], policy: RetryPolicy) -> None:
        now = time.monotonic()
        live = []
        for entry in entries:
            if entry.future.cancelled():
                continue
            if entry.deadline <= now:
                _tell([entry], too_late(entry.message))
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
                _tell(live, error)
        except Unroutable as error:
            _tell([entry for entry in live if entry.message.id not in error.ids], None)
            _tell([entry for entry in live if entry.message.id in error.ids], error)
        except Exception as error:  # whatever it is belongs to the callers; the thread has to go on
            _tell(live, error)
        else:
            _tell(live, None)


def _tell(entries: Sequence[Entry], error: Exception | None) -> None:
    for lane, some in groupby(entries, lambda entry: entry.lane):
        lane.tell(list(some), error)
