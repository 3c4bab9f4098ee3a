"""Letters within one process: the memory broker's messenger."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Collection, Sequence

from celeriac.brokers.inbox import Inbox, is_for
from celeriac.core.mailbox import Address, Mailbox
from celeriac.core.message import Message
from celeriac.core.settings import Settings


class PostOffice:
    """Where the messengers of one memory broker meet. Thread-safe; never blocks."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listening: list[tuple[Mailbox, MemoryMessenger]] = []

    def listen(self, messenger: MemoryMessenger, mailboxes: Collection[Mailbox]) -> None:
        """Have a messenger hear of what comes to these mailboxes, and of nothing else."""
        with self._lock:
            others = [(mailbox, one) for mailbox, one in self._listening if one is not messenger]
            self._listening = others + [(mailbox, messenger) for mailbox in mailboxes]

    def deliver(self, letters: Sequence[Message]) -> None:
        """Hand letters to all who listen for them."""
        with self._lock:
            listening = list(self._listening)
        for letter in letters:
            for mailbox, messenger in listening:
                if is_for(mailbox, letter):
                    messenger.hear(letter)


class MemoryMessenger:
    """One process's side, of which there is but one process; each messenger may be in a loop of its own."""

    def __init__(self, office: PostOffice, settings: Settings) -> None:
        self._office = office
        self._inbox = Inbox(settings.event_buffer_max)
        self._loop: asyncio.AbstractEventLoop | None = None

    async def open(self, mailboxes: Collection[Mailbox]) -> None:
        """Listen at these mailboxes; see `Messenger.open`."""
        self._loop = asyncio.get_running_loop()
        self._office.listen(self, mailboxes)

    async def send(self, address: Address, letters: Sequence[Message]) -> None:
        """Hand letters to all who listen for them."""
        self._office.deliver(letters)

    async def receive(self) -> list[Message]:
        """Wait for the next letters."""
        return await self._inbox.get()

    async def close(self) -> None:
        """Listen no more; idempotent."""
        self._office.listen(self, ())

    def hear(self, letter: Message) -> None:
        """In any thread: take a letter in."""
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(self._inbox.put, letter)
        except RuntimeError:
            self._office.listen(self, ())  # the loop was closed without `close`: nobody reads there any more
