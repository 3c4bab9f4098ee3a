"""Letters that have arrived and wait for whoever reads them; all messengers have one."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from celeriac.core.mailbox import Mailbox
from celeriac.core.message import Message
from celeriac.core.routing import is_match
from celeriac.exceptions import OperationalError


class Inbox:
    """What was received and not read yet, at most `limit` letters: beyond that the oldest are dropped. For one event loop."""

    def __init__(self, limit: int) -> None:
        self.dropped = 0
        """How many letters were dropped because nobody had read them."""
        self._letters: deque[Message] = deque(maxlen=limit)
        self._problem: OperationalError | None = None
        self._arrived = asyncio.Event()

    def put(self, letter: Message) -> None:
        """Take a letter in."""
        if len(self._letters) == self._letters.maxlen:
            self.dropped += 1
        self._letters.append(letter)
        self._arrived.set()

    def fail(self, problem: OperationalError) -> None:
        """Nothing more will arrive: who reads gets what is there, and then this, until the next `reset`."""
        self._problem = problem
        self._arrived.set()

    async def watch(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do what has to be done in the background for letters to arrive; who reads hears of its failure."""
        try:
            await work()
        except OperationalError as problem:
            self.fail(problem)

    def reset(self) -> None:
        """Begin anew after a failure; what had arrived stays."""
        self._problem = None
        if not self._letters:
            self._arrived.clear()

    async def get(self) -> list[Message]:
        """Wait for letters and return all that are there. Cancelling it loses nothing."""
        await self._arrived.wait()
        letters = list(self._letters)
        self._letters.clear()
        if self._problem is None:
            self._arrived.clear()
        elif not letters:
            raise self._problem
        return letters


def is_for(mailbox: Mailbox, letter: Message) -> bool:
    """Tell whether a letter belongs into a mailbox."""
    address = mailbox.address
    return address.exchange == letter.exchange and is_match(address.kind, mailbox.routing_key, letter.routing_key or "")
