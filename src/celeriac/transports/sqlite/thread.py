"""The file for callers in an event loop, which must never block."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, Final, Generic, TypeVar

from celeriac.transports.sqlite.database import Database, Version

T = TypeVar("T")

SHORTEST_PAUSE_S: Final = 0.005
LONGEST_PAUSE_S: Final = 0.025
"""Between two looks at whether the file has changed. A look takes microseconds and no lock."""
PAUSE_GROWTH: Final = 1.2
LOOK_TIMEOUT_S: Final = 1.0
"""A look waits for nobody, but for a process that is just repairing the file after a crash."""


class _Call(Generic[T]):
    """Something to run in the thread."""

    def __init__(self, work: Callable[[Database], T], undo: Callable[[Database, T], None] | None) -> None:
        self.work = work
        self.undo = undo
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[T] = self.loop.create_future()


class _Watch:
    """Somebody who waits for the file to change."""

    def __init__(self, since: Version) -> None:
        self.since = since
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[None] = self.loop.create_future()


class _Stop:
    """The end of the thread."""


_Inbox = queue.SimpleQueue[_Call[Any] | _Watch | _Stop]


class DatabaseThread:
    """A connection and the thread that alone uses it. All methods belong to one event loop.

    1. Runs calls one at a time and in their order, so that the loop never waits for a disk or a lock.
    2. Undoes a call whose caller was cancelled before it got the answer, when told how.
    3. Looks whether the file has changed, while somebody waits for that.
    4. Opens and closes the connection; starts with the first call and ends with `close`.
    """

    def __init__(self, database: Database, name: str) -> None:
        self._database = database
        self._name = name
        self._inbox = _Inbox()
        self._thread: threading.Thread | None = None

    async def run(self, work: Callable[[Database], T], undo: Callable[[Database, T], None] | None = None) -> T:
        """Run `work` in the thread and return what it returns.

        If the caller is cancelled when `work` has begun, `undo` is called in the thread with what `work` returned; not
        after `close`, before which the owner has to bring its own things in order.
        """
        call = _Call(work, undo)
        self._put(call)
        try:
            return await call.future
        except asyncio.CancelledError:
            future = call.future
            if undo is not None and future.done() and not future.cancelled() and future.exception() is None:
                # The answer had come, but nobody will see it.
                self._take_back(undo, future.result())
            raise

    async def changed(self, since: Version, timeout_s: float) -> None:
        """Wait until the file's version differs from `since`, at most `timeout_s` seconds."""
        watch = _Watch(since)
        self._put(watch)
        try:
            async with asyncio.timeout(timeout_s):
                await watch.future  # the thread forgets a watch whose future is done or cancelled
        except TimeoutError:
            pass  # that is an answer too

    async def close(self) -> None:
        """Run what was asked for, close the connection and end the thread; idempotent."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._inbox.put(_Stop())
            await asyncio.to_thread(thread.join)

    def _put(self, item: _Call[Any] | _Watch) -> None:
        if self._thread is None:
            self._inbox = _Inbox()  # of its own, so that no two threads ever read the same one
            self._thread = threading.Thread(target=self._main, args=(self._inbox,), name=self._name, daemon=True)
            self._thread.start()
        self._inbox.put(item)

    def _take_back(self, undo: Callable[[Database, T], None], result: T) -> None:
        if self._thread is not None:
            self._put(_Call(lambda database: undo(database, result), None))

    # -- in the thread ---------------------------------------------------------------------------------------------

    def _main(self, inbox: _Inbox) -> None:
        watches: list[_Watch] = []
        pause_s = SHORTEST_PAUSE_S
        try:
            while True:
                try:
                    item = inbox.get(timeout=pause_s if watches else None)
                except queue.Empty:
                    pause_s = min(pause_s * PAUSE_GROWTH, LONGEST_PAUSE_S)
                else:
                    match item:
                        case _Stop():
                            return
                        case _Watch():
                            watches.append(item)
                            pause_s = SHORTEST_PAUSE_S
                        case _Call():
                            self._answer(item)
                watches = self._look(watches)
        finally:
            self._database.close()

    def _answer(self, call: _Call[Any]) -> None:
        if call.future.cancelled():
            return
        try:
            result = call.work(self._database)
        except Exception as error:  # the caller's to handle, whatever it is
            _tell(call.loop, partial(_fail, call.future, error))
            return
        if not _tell(call.loop, partial(self._deliver, call, result)) and call.undo is not None:
            call.undo(self._database, result)

    def _deliver(self, call: _Call[Any], result: Any) -> None:
        """In the loop: hand the answer over, or have it undone if nobody waits for it any more."""
        if not call.future.done():
            call.future.set_result(result)
        elif call.undo is not None:
            self._take_back(call.undo, result)

    def _look(self, watches: list[_Watch]) -> list[_Watch]:
        """Wake those for whom the file has changed; return those who go on waiting."""
        waiting = [watch for watch in watches if not watch.future.done()]
        if not waiting:
            return waiting
        try:
            version = self._database.version(LOOK_TIMEOUT_S)
        except Exception as error:  # whoever waits has to know
            for watch in waiting:
                _tell(watch.loop, partial(_fail, watch.future, error))
            return []
        still = []
        for watch in waiting:
            if watch.since == version:
                still.append(watch)
            else:
                _tell(watch.loop, partial(_wake, watch.future))
        return still


def _tell(loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> bool:
    """Call back in the loop; False when the loop is closed and nobody is there to be told."""
    try:
        loop.call_soon_threadsafe(callback)
    except RuntimeError:
        return False
    return True


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _fail(future: asyncio.Future[Any], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
