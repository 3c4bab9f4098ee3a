"""Receiving events: `app.events.Receiver`."""

from __future__ import annotations

import asyncio
import logging
import queue
import random
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace

from celeriac.client.letters import letters_of
from celeriac.core.addresses import event_mailbox
from celeriac.core.retry import backoff_s
from celeriac.exceptions import BadMessage, BrokerUnavailable, CeleriacError, ImproperlyConfigured
from celeriac.wire.event import decode_events

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac
    from celeriac.core.mailbox import Mailbox
    from celeriac.core.message import Message
    from celeriac.core.ports import Messenger

logger = logging.getLogger("celeriac.events")

Handler = Callable[[dict[str, Any]], object]

_RECONNECT_FIRST_S: Final = 0.2
_RECONNECT_MAX_S: Final = 5.0
_LOOK_S: Final = 0.25
"""So often who waits for events looks whether it is to stop."""


class Receiver:
    """Hears the events of a cluster and calls handlers; Celery's interface. One thread at a time.

    Args:
        channel: accepted for Celery's sake, as `app.connection()` or None.
        handlers: type of events -> function called with the event; `*`: for all types that have none.
        routing_key: hear only events whose type, with dots for dashes, matches: `worker.#`.
        node_id: own id, by default a new one.
        queue_prefix, queue_ttl, queue_expires, queue_exclusive, queue_durable: in place of the settings `event_queue_...`.
        accept: serializers that events may be written by; by default `json` and `event_serializer`.

    Raises `ImproperlyConfigured` for a queue that is both exclusive and durable.
    """

    def __init__(
        self,
        channel: object = None,
        handlers: Mapping[str, Handler] | None = None,
        routing_key: str = "#",
        node_id: str | None = None,
        app: Celeriac | None = None,
        queue_prefix: str | None = None,
        accept: Collection[str] | None = None,
        queue_ttl: float | None = None,
        queue_expires: float | None = None,
        queue_exclusive: bool | None = None,
        queue_durable: bool | None = None,
    ) -> None:
        assert app is not None, "made by app.events.Receiver()"
        self.app = app
        self.handlers: Mapping[str, Handler] = {} if handlers is None else handlers
        self.routing_key = routing_key
        self.node_id = node_id or str(uuid.uuid4())
        self.accept = list(accept) if accept is not None else ["json", app.settings.event_serializer]
        self.should_stop = False
        """Set it in a handler or another thread, and `capture` returns within a second."""
        self.dropped = 0
        """How many letters with events were dropped because the handlers were slower than the cluster."""
        mailbox = event_mailbox(app.settings, self.node_id, routing_key, queue_prefix)
        given = {"ttl_s": queue_ttl, "expires_s": queue_expires, "exclusive": queue_exclusive, "durable": queue_durable}
        self._mailbox: Mailbox = replace(mailbox, **{name: value for name, value in given.items() if value is not None})
        if self._mailbox.exclusive and self._mailbox.durable:
            raise ImproperlyConfigured("a queue of events is exclusive or durable, not both: see event_queue_exclusive")
        self._letters: queue.Queue[Message] = queue.Queue(app.settings.event_buffer_max)

    # -- the program's side -------------------------------------------------------------------------------------------

    def capture(self, limit: int | None = None, timeout: float | None = None, wakeup: bool = True) -> None:
        """Call handlers for events until `should_stop`, or until `limit` letters with events have come.

        Args:
            timeout: seconds without any event after which `TimeoutError` is raised; None: never.
            wakeup: have the workers send a heartbeat first, so that they are known.

        Blocking.  A lost connection is made anew.  Raises `BrokerUnavailable` when there is none at the beginning.
        """
        for _ in self.itercapture(limit, timeout, wakeup):
            pass

    def itercapture(
        self, limit: int | None = None, timeout: float | None = None, wakeup: bool = True
    ) -> Iterator[None]:
        """As `capture`, giving control back after each letter."""
        opened: Future[None] = Future()
        background = letters_of(self.app).background
        listening = background.submit(lambda: self._listen(opened))
        try:
            opened.result()
            if wakeup:
                self.wakeup_workers()
            count = 0
            while not self.should_stop and (limit is None or count < limit):
                letter = self._next(timeout, listening)
                if letter is None:
                    return
                count += 1
                self._handle(letter)
                yield
        finally:
            listening.cancel()

    def wakeup_workers(self, channel: object = None) -> None:
        """Have all workers send a heartbeat. Raises `BrokerUnavailable`."""
        self.app.control.heartbeat()

    def process(self, type: str, event: dict[str, Any]) -> None:
        """Call the handler of an event."""
        handler = self.handlers.get(type) or self.handlers.get("*")
        if handler is not None:
            handler(event)

    def event_from_message(
        self, body: dict[str, Any], localize: bool = True, now: Callable[[], float] = time.time
    ) -> tuple[str, dict[str, Any]]:
        """Return type and event, with `local_received` (Unix seconds) and a logical clock.

        `localize` is accepted for Celery's sake: times are Unix seconds, which are the same everywhere.
        """
        clock = self.app.clock
        if body["type"] == "task-sent":
            body["clock"] = max(clock.value, 1) - 1  # clients do not hear of others, so their clocks say nothing
        elif isinstance(told := body.get("clock"), int):
            clock.adjust(told)
        else:
            body["clock"] = clock.forward()
        body["local_received"] = now()
        return body["type"], body

    def _next(self, timeout_s: float | None, listening: Future[None]) -> Message | None:
        """Return the next letter, None when it is time to stop, or the app was closed."""
        until = None if timeout_s is None else time.monotonic() + timeout_s
        while not self.should_stop:
            left_s = _LOOK_S if until is None else min(_LOOK_S, until - time.monotonic())
            try:
                return self._letters.get(timeout=max(left_s, 0.0))
            except queue.Empty:
                if until is not None and time.monotonic() >= until:
                    raise TimeoutError(f"no event came within {timeout_s:g} s") from None
                if listening.cancelled():
                    return None
                if listening.done():
                    listening.result()
        return None

    def _handle(self, letter: Message) -> None:
        try:
            events = decode_events(letter, self.accept, self.app.settings.event_max_bytes)
        except BadMessage as error:
            logger.warning("a letter with events is not read: %s", error)
            return
        for event in events:
            self.process(*self.event_from_message(event))

    # -- in the loop --------------------------------------------------------------------------------------------------

    async def _listen(self, opened: Future[None]) -> None:
        messenger = self.app.broker.messenger()
        failures = 0
        try:
            while True:
                try:
                    await messenger.open([self._mailbox])
                    if not opened.done():
                        opened.set_result(None)
                    failures = 0
                    await self._read(messenger)
                except CeleriacError as error:
                    if not opened.done():
                        opened.set_exception(error)
                        return
                    if not failures:
                        logger.warning("events are not received, will go on trying: %s", error)
                await asyncio.sleep(backoff_s(failures, _RECONNECT_FIRST_S, _RECONNECT_MAX_S, random.random()))
                failures += 1
        except BaseException as error:
            if not opened.done():
                opened.set_exception(BrokerUnavailable(f"events are not received: {error!r}"))
            raise
        finally:
            await messenger.close()

    async def _read(self, messenger: Messenger) -> None:
        while True:
            for letter in await messenger.receive():
                try:
                    self._letters.put_nowait(letter)
                except queue.Full:
                    self.dropped += 1
