"""The worker's ear for remote control: requests in, replies out."""

from __future__ import annotations

import asyncio
import fnmatch
import logging
import random
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from celeriac.client.lamport import LamportClock
from celeriac.core.addresses import control_mailbox, reply_address
from celeriac.core.message import Message
from celeriac.core.ports import Messenger
from celeriac.core.printable import one_line
from celeriac.core.urls import mask
from celeriac.exceptions import BadMessage, CeleriacError, EncodeError
from celeriac.wire.control import Reply, Request, decode_request, encode_reply
from celeriac.worker.link import FIRST_PAUSE_S, LONGEST_PAUSE_S

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac
    from celeriac.worker.control.answering import Answering

logger = logging.getLogger("celeriac.worker")

PATTERN_MAX_CHARS: Final = 256
REPLY_TIMEOUT_S: Final = 5.0


class ControlListener:
    """Duties: 1. receive requests, reconnecting as often as it takes; 2. leave out what is meant for others, too late, or no request;
    3. send what was answered.

    Whatever a request holds, and however often the broker goes away, it goes on listening.
    """

    def __init__(
        self, app: Celeriac, hostname: str, clock: LamportClock, messenger: Messenger, answering: Answering
    ) -> None:
        self._app = app
        self._hostname = hostname
        self._clock = clock
        self._messenger = messenger
        self._answering = answering
        self._max_bytes = app.settings.control_max_bytes
        self._mailbox = control_mailbox(app.settings, hostname)
        self._replies = reply_address(app.settings).exchange
        self._sending: set[asyncio.Task[None]] = set()
        self.is_open = asyncio.Event()
        """Requests have been heard since the start."""

    async def run(self) -> None:
        """Listen until cancelled."""
        pause_s, is_lost = FIRST_PAUSE_S, False
        while True:
            try:
                await self._messenger.open([self._mailbox])
                self.is_open.set()
                if is_lost:
                    logger.info("remote control is heard again")
                pause_s, is_lost = FIRST_PAUSE_S, False
                while True:
                    for letter in await self._messenger.receive():
                        self._take(letter)
            except CeleriacError as error:
                if not is_lost:
                    is_lost = True
                    logger.warning("remote control is not heard, will go on trying: %s", mask(str(error)))
            except Exception:  # a defect, but no reason to stop a worker
                is_lost = True
                logger.exception("remote control is not heard, will go on trying")
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))
            pause_s = min(LONGEST_PAUSE_S, pause_s * 1.5)

    def _take(self, letter: Message) -> None:
        try:
            request = decode_request(letter, self._max_bytes)
            self._clock.adjust(request.clock)
            if not self._is_meant(request):
                return
        except (BadMessage, re.error) as error:
            logger.warning("what came by remote control is no request: %s", one_line(str(error)))
            return
        except Exception:  # a letter, whatever it holds, must never stop a worker
            logger.exception("a request by remote control could not be read")
            return
        self._answering.answer(request, letter, self._replier(request))

    def _is_meant(self, request: Request) -> bool:
        if request.expires and request.expires < self._app.time_source.time():
            logger.info("a request by remote control comes too late: %.100s", one_line(request.method))
            return False
        if request.destination is not None:
            return self._hostname in request.destination
        if request.pattern is not None and request.matcher is not None:
            return self._matches(request.pattern, request.matcher)
        return True

    def _matches(self, pattern: str, matcher: str) -> bool:
        if len(pattern) > PATTERN_MAX_CHARS:
            raise BadMessage(f"a pattern of {len(pattern)} characters for names of workers")
        if matcher == "glob":
            return fnmatch.fnmatchcase(self._hostname, pattern)
        if matcher == "pcre":
            if self._app.content.requires_signatures:
                # An expression can take for ever, and whoever sends it need not have signed.
                raise BadMessage("where requests are signed, names of workers are given as a glob or in full")
            return re.match(pattern, self._hostname) is not None
        raise BadMessage(f"no matcher {matcher!r:.80}: glob or pcre")

    def _replier(self, request: Request) -> Callable[[Any], None] | None:
        to = request.reply_to
        if to is None:
            return None
        if to.exchange != self._replies:  # whoever asks could have us make exchanges without end
            logger.warning(
                "a request by remote control wants its reply in %.100s, not in %s", one_line(to.exchange), self._replies
            )
            return None

        def reply(payload: Any) -> None:
            clock = self._clock.forward()
            try:
                letter = encode_reply(Reply(self._hostname, payload, request.ticket, clock), to, self._max_bytes)
            except EncodeError as error:
                problem = {"error": f"the reply can't be sent: {error}"}
                letter = encode_reply(Reply(self._hostname, problem, request.ticket, clock), to, self._max_bytes)
            task = asyncio.get_running_loop().create_task(self._send(to.address, letter), name="celeriac-reply")
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)

        return reply

    async def _send(self, address: Any, letter: Message) -> None:
        try:
            async with asyncio.timeout(REPLY_TIMEOUT_S):
                await self._messenger.send(address, [letter])
        except (CeleriacError, TimeoutError) as error:  # whoever asked will ask again
            logger.debug("a reply was not sent: %s", error)

    async def close(self) -> None:
        """Send what was answered, for a moment at most, and disconnect. Call it when `run` has ended."""
        if self._sending:
            _done, late = await asyncio.wait(self._sending, timeout=FIRST_PAUSE_S)
            for task in late:
                task.cancel()
        await self._messenger.close()
