"""An app's requests to workers, and the replies to them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import uuid
from collections.abc import Awaitable, Callable
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Final

from celeriac.client.background import BackgroundLoop
from celeriac.core.addresses import control_address, reply_mailbox
from celeriac.exceptions import BadMessage, BrokerUnavailable, CeleriacError
from celeriac.wire.control import Reply, decode_reply

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac
    from celeriac.core.message import Message
    from celeriac.core.ports import Messenger

logger = logging.getLogger("celeriac.control")

IDLE_S: Final = 30.0
"""A mailbox for replies that nobody has used for so long is given up, and made anew with the next request."""

Answers = SimpleQueue[Reply | CeleriacError]
"""What comes in for one request, in the order of its coming; an error is the last of it."""


class Correspondence:
    """Sends the requests of one process, and hands replies to those who asked. Thread-safe.

    1. Owns a messenger on the background loop; opens it when it is needed, anew after a failure, and closes it when it is idle.
    2. Has a mailbox of its own for replies once a reply was wanted; who asked is known by the ticket.
    """

    def __init__(self, app: Celeriac, loop: BackgroundLoop) -> None:
        self._app = app
        self._background = loop
        self._settings = app.settings
        self.mailbox = reply_mailbox(app.settings, str(uuid.uuid4()))
        """Where replies are to be sent."""
        self._asked: dict[str, Answers] = {}
        self._lock = threading.Lock()
        # What follows is touched in the loop only.
        self._messenger: Messenger | None = None
        self._hears = False
        self._turn: asyncio.Lock | None = None
        self._reading: asyncio.Task[None] | None = None
        self._idle: asyncio.TimerHandle | None = None
        self._leaving: asyncio.Task[None] | None = None

    # -- from the callers' threads ------------------------------------------------------------------------------------

    def post(self, letter: Message) -> None:
        """Send a request that nobody answers. Blocking up to `publish_timeout_s`. Raises `BrokerUnavailable`."""
        self._background.run(partial(self._within_time, partial(self._send, letter, hears=False)))

    def ask(self, letter: Message, ticket: str) -> Answers:
        """Send a request, and return where its answers come in; `forget` it when no more are wanted. Raises as `post`."""
        answers: Answers = SimpleQueue()
        with self._lock:
            self._asked[ticket] = answers
        try:
            self._background.run(partial(self._within_time, partial(self._send, letter, hears=True)))
        except BaseException:
            self.forget(ticket)
            raise
        return answers

    def forget(self, ticket: str) -> None:
        """Take no more answers to a request. Idempotent."""
        with self._lock:
            self._asked.pop(ticket, None)

    def close(self) -> None:
        """Close the connection, and take the mailbox away. Idempotent, blocking."""
        if self._turn is None:  # nothing was sent
            return
        with contextlib.suppress(CeleriacError):
            self._background.run(partial(self._within_time, self._hang_up))

    # -- in the loop --------------------------------------------------------------------------------------------------

    async def _within_time(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            async with asyncio.timeout(self._settings.publish_timeout_s):
                await work()
        except TimeoutError:
            shown = self._app.broker.shown_url()
            raise BrokerUnavailable(f"{shown} did not answer within {self._settings.publish_timeout_s:g} s") from None

    async def _send(self, letter: Message, *, hears: bool) -> None:
        if self._turn is None:
            self._turn = asyncio.Lock()
        async with self._turn:
            if self._messenger is None or self._reading is None or self._reading.done() or (hears and not self._hears):
                await self._open(hears or self._hears)
            assert self._messenger is not None
            await self._messenger.send(control_address(self._settings), [letter])
            self._put_off_idling()

    async def _open(self, hears: bool) -> None:
        if self._reading is not None:
            self._reading.cancel()
        if self._messenger is None:
            self._messenger = self._app.broker.messenger()
        self._hears = hears
        await self._messenger.open([self.mailbox] if hears else [])
        self._reading = asyncio.create_task(self._read(self._messenger))

    async def _read(self, messenger: Messenger) -> None:
        try:
            while True:
                for letter in await messenger.receive():
                    self._deliver(letter)
        except CeleriacError as error:
            with self._lock:
                asked, self._asked = list(self._asked.values()), {}
            for answers in asked:
                answers.put(error)

    def _deliver(self, letter: Message) -> None:
        try:
            reply = decode_reply(letter, self._settings.control_max_bytes)
        except BadMessage as error:
            logger.warning("a reply is not read: %s", error)
            return
        self._app.clock.adjust(reply.clock)
        with self._lock:
            answers = self._asked.get(reply.ticket or "")
        if answers is not None:  # else it came too late
            answers.put(reply)

    def _put_off_idling(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        self._idle = asyncio.get_running_loop().call_later(IDLE_S, self._look_for_idling)

    def _look_for_idling(self) -> None:
        if self._asked:
            self._put_off_idling()
        else:
            self._leaving = asyncio.create_task(self._hang_up())

    async def _hang_up(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        if self._turn is None:
            return
        async with self._turn:
            reading, self._reading = self._reading, None
            messenger, self._messenger = self._messenger, None
            self._hears = False
            if reading is not None:
                reading.cancel()
            if messenger is not None:
                await messenger.close()
