"""`result.then(callback)`: calls that are made when results are there, by a thread of their own."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from celeriac.client.result_gathering import End, Gathering, waiters_of

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac

logger = logging.getLogger("celeriac.results")

OnError = Callable[[BaseException], object]


def call_when_over(
    app: Celeriac, result: Any, gathering: Gathering, callback: Callable[[Any], object], on_error: OnError | None
) -> None:
    """Have the app's callback thread call `callback(result)` when all that is gathered has ended. Does not block.

    Raises `ImproperlyConfigured` when results are kept nowhere, `BackendUnavailable` when the app was closed.
    """
    thread: CallbackThread = app._connections.part("result callbacks", CallbackThread)
    call = _Call(thread, result, gathering, callback, on_error)
    if gathering.over:
        call.make()
        return
    for waiter, ids in waiters_of(gathering.missing()):
        waiter.watch(ids, call)


class CallbackThread:
    """Makes calls one at a time, in the order in which they were handed over; a call that takes long delays only other ones.

    Owns a daemon thread, which the first call starts.  Thread-safe.
    """

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def put(self, call: Callable[[], None]) -> None:
        """Make this call soon; it must not raise."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="celeriac-result-callbacks", daemon=True)
                self._thread.start()
        self._calls.put(call)

    def close(self) -> None:
        """End the thread once it has made the calls that it has; idempotent."""
        self._calls.put(None)

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            call()


class _Call:
    """One call that is to be made, as the waiters' threads know it."""

    def __init__(
        self,
        thread: CallbackThread,
        result: Any,
        gathering: Gathering,
        callback: Callable[[Any], object],
        on_error: OnError | None,
    ) -> None:
        self._thread = thread
        self._result = result
        self._gathering = gathering
        self._callback = callback
        self._on_error = on_error
        self._lock = threading.Lock()  # results of two apps are heard of in two threads
        self._made = False

    def hear(self, task_id: str, status: str, document: bytes) -> None:
        with self._lock:
            self._gathering.take(End(task_id, status, document))
            over = self._gathering.over
        if over:
            self.make()

    def fail(self, error: Exception) -> None:
        self._hand_over(partial(self._tell, error, "was not called"))

    def make(self) -> None:
        self._hand_over(self._run)

    def _hand_over(self, call: Callable[[], None]) -> None:
        with self._lock:
            made, self._made = self._made, True
        if not made:
            self._thread.put(call)

    def _run(self) -> None:
        try:
            self._callback(self._result)
        except Exception as error:
            self._tell(error, "failed")

    def _tell(self, error: BaseException, what: str) -> None:
        if self._on_error is None:
            logger.error("the callback of %r %s: %r", self._result, what, error, exc_info=error)
            return
        try:
            self._on_error(error)
        except Exception:
            logger.exception("the error callback of %r failed", self._result)
