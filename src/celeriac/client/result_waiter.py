"""Waiting for results: one thread listens to the backend for everybody in the process who waits."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from celeriac.client.result_status import status_of
from celeriac.core.ports import ResultListener
from celeriac.core.retry import backoff_s
from celeriac.core.states import READY_STATES
from celeriac.exceptions import BackendUnavailable
from celeriac.wire import result_meta
from celeriac.wire.result_meta import ResultFormat

RECONNECT_FIRST_S: Final = 0.1
RECONNECT_MAX_S: Final = 5.0
GIVE_UP_AFTER_S: Final = 60.0
"""A backend that could not be reached for so long fails those who wait, so that `get()` without a timeout never hangs."""


class Hearer(Protocol):
    """Who wants to know how tasks end. Called in the waiter's thread: it must neither block nor raise."""

    def hear(self, task_id: str, status: str, document: bytes) -> None:
        """Take the document of a task that has ended; it is not watched for this hearer any more."""

    def fail(self, error: Exception) -> None:
        """Nothing more will be heard, of any task."""


class ResultWaiter:
    """Wakes who waits for results.

    Duties of its one daemon thread, which runs an event loop: 1. keep the listener connected, with back-off; 2. watch the
    ids that somebody waits for, many at once; 3. tell their hearers when a ready state arrives; 4. stop watching what
    nobody waits for; 5. tell all hearers when the backend stays away.  Thread-safe.
    """

    def __init__(
        self,
        listener: ResultListener,
        shown_url: str,
        result_format: Callable[[], ResultFormat] = lambda: result_meta.PLAIN,
    ) -> None:
        self._listener = listener
        self._format = result_format
        self._shown_url = shown_url
        self._lock = threading.Lock()
        self._hearers: dict[str, list[Hearer]] = {}
        self._to_watch: set[str] = set()
        self._to_unwatch: set[str] = set()
        self._watched: set[str] = set()
        """What the listener watches, as far as it has been told."""
        self._changing = False
        self._connected = threading.Event()
        self._problem: BackendUnavailable | None = None
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._changed: asyncio.Event | None = None
        self._stop: asyncio.Event | None = None
        self._closed = False

    def reply_to(self, timeout_s: float) -> str | None:
        """Return the reply queue to put into messages, None where results are stored.

        The queue is there when this returns; raises `BackendUnavailable` when that takes more than `timeout_s` seconds.
        """
        if self._listener.reply_to is None:
            return None
        if not self._connected.is_set():
            self._ensure_thread()
            if not self._connected.wait(timeout_s):
                raise self._unavailable()
        return self._listener.reply_to

    def watch(self, ids: Iterable[str], hearer: Hearer) -> None:
        """Tell `hearer` how these tasks end, or ended; once for each. Call `unwatch` when it is wanted no longer."""
        with self._lock:
            self._ensure_thread_locked()
            for task_id in ids:
                hearers = self._hearers.setdefault(task_id, [])
                hearers.append(hearer)
                if len(hearers) == 1:
                    self._to_unwatch.discard(task_id)
                    self._to_watch.add(task_id)
            self._announce_change()

    def unwatch(self, ids: Iterable[str], hearer: Hearer) -> None:
        """Tell `hearer` no more of these tasks; the last hearer of a task ends the watching. Idempotent."""
        with self._lock:
            for task_id in ids:
                hearers = self._hearers.get(task_id)
                if hearers is None or hearer not in hearers:
                    continue
                hearers.remove(hearer)
                if not hearers:
                    del self._hearers[task_id]
                    self._unwatch(task_id)

    def close(self, timeout_s: float) -> None:
        """End the thread and fail who still waits. Idempotent, blocking up to `timeout_s` seconds."""
        with self._lock:
            self._closed = True
            thread, loop, stop = self._thread, self._loop, self._stop
        if thread is not None and loop is not None and stop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended by itself
                loop.call_soon_threadsafe(stop.set)
            thread.join(timeout_s)
        self._fail_all(BackendUnavailable("the app was closed while a result was waited for"))

    # -- from the callers' threads ------------------------------------------------------------------------------------

    def _ensure_thread(self) -> None:
        with self._lock:
            self._ensure_thread_locked()

    def _ensure_thread_locked(self) -> None:
        if self._closed:
            raise BackendUnavailable("the app was closed")
        if self._thread is not None:
            return
        started = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(started,), name="celeriac-results", daemon=True)
        self._thread.start()
        started.wait()

    def _unwatch(self, task_id: str) -> None:
        self._to_watch.discard(task_id)
        if task_id in self._watched:
            self._to_unwatch.add(task_id)
            self._announce_change()

    def _announce_change(self) -> None:
        # One wake-up for all changes until the loop has looked.
        if not self._changing and self._loop is not None and self._changed is not None:
            self._changing = True
            with contextlib.suppress(RuntimeError):  # closed: nobody watches any more
                self._loop.call_soon_threadsafe(self._changed.set)

    def _unavailable(self) -> BackendUnavailable:
        why = f": {self._problem}" if self._problem is not None else ""
        return BackendUnavailable(f"the result backend {self._shown_url} can't be reached{why}")

    # -- in the thread ------------------------------------------------------------------------------------------------

    def _run(self, started: threading.Event) -> None:
        asyncio.run(self._serve(started))

    async def _serve(self, started: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self._stop = asyncio.Event()
        started.set()
        serving = asyncio.create_task(self._stay_connected())
        stopping = asyncio.create_task(self._stop.wait())
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        serving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            try:
                await serving
            except Exception as error:  # a defect of the listener: whoever waits must hear of it
                self._fail_all(error)
                with self._lock:
                    self._thread = None  # the next one who waits starts a new one
        with contextlib.suppress(BackendUnavailable):  # it is being thrown away
            await self._listener.close()

    async def _stay_connected(self) -> None:
        failures = 0
        loop = asyncio.get_running_loop()
        away_since: float | None = None
        while True:
            try:
                await self._listener.open(self._deliver)
                with self._lock:
                    # What came while there was no connection, and what a failed attempt may not have watched.
                    self._to_watch.update(self._hearers)
                    self._announce_change()
                self._connected.set()
                failures, away_since = 0, None
                await self._listen()
            except BackendUnavailable as error:
                self._connected.clear()
                self._problem = error
                now = loop.time()
                away_since = now if away_since is None else away_since
                if now - away_since > GIVE_UP_AFTER_S:
                    self._fail_all(self._unavailable())
            await asyncio.sleep(backoff_s(failures, RECONNECT_FIRST_S, RECONNECT_MAX_S, random.random()))
            failures += 1

    async def _listen(self) -> None:
        """Receive and pass on changes of what is watched, until the connection is lost."""
        running = [asyncio.create_task(self._listener.run()), asyncio.create_task(self._pass_on_changes())]
        try:
            await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in running:
                task.cancel()
            ended = await asyncio.gather(*running, return_exceptions=True)
        for end in ended:
            if isinstance(end, Exception):
                raise end

    async def _pass_on_changes(self) -> None:
        assert self._changed is not None
        while True:
            await self._changed.wait()
            self._changed.clear()
            with self._lock:
                self._changing = False
                watch, self._to_watch = self._to_watch, set()
                unwatch, self._to_unwatch = self._to_unwatch, set()
                self._watched -= unwatch
                self._watched |= watch
            if unwatch:
                await self._listener.unwatch(unwatch)
            if watch:
                await self._listener.watch(watch)

    def _deliver(self, task_id: str, document: bytes) -> None:
        """Take a document from the listener."""
        status = status_of(document, self._format)
        if status not in READY_STATES:
            return
        with self._lock:
            hearers = self._hearers.pop(task_id, None)
            if hearers is None:
                return
            self._unwatch(task_id)
        for hearer in hearers:
            hearer.hear(task_id, status, document)

    def _fail_all(self, error: Exception) -> None:
        with self._lock:
            hearers = {id(hearer): hearer for some in self._hearers.values() for hearer in some}
            self._hearers.clear()
            self._to_watch.clear()
        for hearer in hearers.values():
            hearer.fail(error)
