"""Everything that an app has open in one process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from celeriac.client.publish_buffer import BufferLimits, PublishBuffer
from celeriac.client.publisher import Publisher

if TYPE_CHECKING:
    from celeriac.client.async_publisher import AsyncPublisher
    from celeriac.client.result_waiter import ResultWaiter
    from celeriac.core.ports import Backend, Broker, ResultReader
    from celeriac.wire.result_meta import ResultFormat


class Connections:
    """The connections and threads of one app in one process, each opened when it is first needed.

    A forked child makes its own: those of the parent are neither used nor closed there, because a TLS or AMQP farewell on a
    shared socket would end the parent's connection.
    """

    def __init__(
        self,
        open_broker: Callable[[], Broker],
        open_backend: Callable[[], Backend],
        result_format: Callable[[], ResultFormat],
        buffer_limits: Callable[[], BufferLimits],
    ) -> None:
        self._open_broker = open_broker
        self._open_backend = open_backend
        self._result_format = result_format
        self._buffer_limits = buffer_limits
        self._opening = threading.RLock()  # one may need another
        self._broker: Broker | None = None
        self._backend: Backend | None = None
        self._publisher: Publisher | None = None
        self._buffer: PublishBuffer | None = None
        self._async_publisher: AsyncPublisher | None = None
        self._reader: ResultReader | None = None
        self._waiter: ResultWaiter | None = None
        self._reply_to: str | None = None
        self._reply_to_known = False
        self._parts: dict[str, Any] = {}

    def part(self, name: str, make: Callable[[], Any]) -> Any:
        """Return something else that is to be opened once and closed with the rest; it has a `close`."""
        part = self._parts.get(name)
        if part is None:
            with self._opening:
                part = self._parts.get(name)
                if part is None:
                    part = self._parts[name] = make()
        return part

    @property
    def broker(self) -> Broker:
        """The broker."""
        if self._broker is None:
            with self._opening:
                if self._broker is None:
                    self._broker = self._open_broker()
        return self._broker

    @property
    def backend(self) -> Backend:
        """The result backend."""
        if self._backend is None:
            with self._opening:
                if self._backend is None:
                    self._backend = self._open_backend()
        return self._backend

    @property
    def publisher(self) -> Publisher:
        """The one publisher."""
        if self._publisher is None:
            with self._opening:
                if self._publisher is None:
                    self._publisher = Publisher(self.broker.producer(), self.broker.shown_url())
        return self._publisher

    @property
    def buffer(self) -> PublishBuffer:
        """The one buffer before it, which passes everything on where the settings want none."""
        if self._buffer is None:
            with self._opening:
                if self._buffer is None:
                    self._buffer = PublishBuffer(self.publisher, self._buffer_limits())
        return self._buffer

    @property
    def async_publisher(self) -> AsyncPublisher:
        """The one publisher for coroutines."""
        if self._async_publisher is None:
            from celeriac.client.async_publisher import AsyncPublisher  # with asyncio, which most programs do not need

            with self._opening:
                if self._async_publisher is None:
                    self._async_publisher = AsyncPublisher(self.buffer)
        return self._async_publisher

    @property
    def reader(self) -> ResultReader:
        """The one reader of results."""
        if self._reader is None:
            with self._opening:
                if self._reader is None:
                    self._reader = self.backend.reader()
        return self._reader

    @property
    def waiter(self) -> ResultWaiter:
        """The one waiter for results."""
        if self._waiter is None:
            from celeriac.client.result_waiter import ResultWaiter  # with asyncio, too

            with self._opening:
                if self._waiter is None:
                    self._waiter = ResultWaiter(self.backend.listener(), self.backend.shown_url(), self._result_format)
        return self._waiter

    def reply_to(self, timeout_s: float) -> str | None:
        """Return the reply queue of this process, None where results are stored; `timeout_s` limits the first look."""
        if not self._reply_to_known:
            deadline = time.monotonic() + timeout_s  # over what has to be imported, too
            # Nothing that waits is made, or imported, for the sake of an answer that is known.
            if self.backend.stores and getattr(self.backend, "replies", True):
                waiter = self.waiter
                self._reply_to = waiter.reply_to(max(deadline - time.monotonic(), 0.001))
            self._reply_to_known = True
        return self._reply_to

    def close(self, timeout_s: float) -> None:
        """Send what waits, within `timeout_s` seconds, and close all. Idempotent."""
        with self._opening:
            async_publisher, self._async_publisher = self._async_publisher, None
            buffer, self._buffer = self._buffer, None
            publisher, self._publisher = self._publisher, None
            reader, self._reader = self._reader, None
            waiter, self._waiter = self._waiter, None
            parts, self._parts = self._parts, {}
        if async_publisher is not None:
            async_publisher.close(timeout_s)
        if buffer is not None:
            buffer.close()
        if waiter is not None:
            waiter.close(timeout_s)
        if publisher is not None:
            publisher.close()
        if reader is not None:
            reader.close()
        for part in parts.values():
            part.close()
