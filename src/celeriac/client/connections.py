"""Everything that an app has open in one process."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from celeriac.client.async_publisher import AsyncPublisher
from celeriac.client.publisher import Publisher
from celeriac.client.result_waiter import ResultWaiter

if TYPE_CHECKING:
    from celeriac.core.ports import Backend, Broker, ResultReader


class Connections:
    """The connections and threads of one app in one process, each opened when it is first needed.

    A forked child makes its own: those of the parent are neither used nor closed there, because a TLS or AMQP farewell on a
    shared socket would end the parent's connection.
    """

    def __init__(self, broker: Broker, backend: Backend) -> None:
        self.pid = os.getpid()
        self._broker = broker
        self._backend = backend
        self._opening = threading.Lock()
        self._publisher: Publisher | None = None
        self._async_publisher: AsyncPublisher | None = None
        self._reader: ResultReader | None = None
        self._waiter: ResultWaiter | None = None
        self._reply_to: str | None = None
        self._reply_to_known = False

    @property
    def publisher(self) -> Publisher:
        """The one publisher."""
        if self._publisher is None:
            with self._opening:
                if self._publisher is None:
                    self._publisher = Publisher(self._broker.producer(), self._broker.shown_url())
        return self._publisher

    @property
    def async_publisher(self) -> AsyncPublisher:
        """The one publisher for coroutines."""
        if self._async_publisher is None:
            publisher = self.publisher
            with self._opening:
                if self._async_publisher is None:
                    self._async_publisher = AsyncPublisher(publisher)
        return self._async_publisher

    @property
    def reader(self) -> ResultReader:
        """The one reader of results."""
        if self._reader is None:
            with self._opening:
                if self._reader is None:
                    self._reader = self._backend.reader()
        return self._reader

    @property
    def waiter(self) -> ResultWaiter:
        """The one waiter for results."""
        if self._waiter is None:
            with self._opening:
                if self._waiter is None:
                    self._waiter = ResultWaiter(self._backend.listener(), self._backend.shown_url())
        return self._waiter

    def reply_to(self, timeout_s: float) -> str | None:
        """Return the reply queue of this process, None where results are stored; `timeout_s` limits the first look."""
        if not self._reply_to_known:
            self._reply_to = self.waiter.reply_to(timeout_s) if self._backend.stores else None
            self._reply_to_known = True
        return self._reply_to

    def close(self, timeout_s: float) -> None:
        """Send what waits, within `timeout_s` seconds, and close all. Idempotent."""
        with self._opening:
            async_publisher, self._async_publisher = self._async_publisher, None
            publisher, self._publisher = self._publisher, None
            reader, self._reader = self._reader, None
            waiter, self._waiter = self._waiter, None
        if async_publisher is not None:
            async_publisher.close(timeout_s)
        if waiter is not None:
            waiter.close(timeout_s)
        if publisher is not None:
            publisher.close()
        if reader is not None:
            reader.close()
