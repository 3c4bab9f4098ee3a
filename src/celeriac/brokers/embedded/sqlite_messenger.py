"""Letters between the processes that share a SQLite file."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Collection, Sequence
from typing import Final

from msgspec import Struct

from celeriac.brokers.embedded import letters as table
from celeriac.brokers.embedded import stored
from celeriac.brokers.inbox import Inbox, is_for
from celeriac.core.mailbox import Address, Mailbox
from celeriac.core.message import Message
from celeriac.core.settings import Settings
from celeriac.exceptions import BadMessage, BrokerUnavailable, OperationalError
from celeriac.transports.sqlite.database import Database, Version
from celeriac.transports.sqlite.thread import DatabaseThread

logger = logging.getLogger(__name__)

_SIGN_OF_LIFE_EVERY_S: Final = 10.0


class _Found(Struct):
    """What one look has brought."""

    letters: list[tuple[int, bytes]]
    version: Version
    """Of the file before the look: when it differs, another look is worth while."""


class SqliteMessenger:
    """One process's letters, over a connection and a thread of their own.

    1. Reads every letter that is put from now on, and picks those that are for its mailboxes.
    2. Says every now and then that it listens; where nobody does, nothing is written.
    """

    def __init__(self, path: str, settings: Settings) -> None:
        self._timeout_s = settings.publish_timeout_s
        self._inbox = Inbox(settings.event_buffer_max)
        self._thread = DatabaseThread(Database(path, BrokerUnavailable), "celeriac-sqlite-messenger")
        self._mailboxes: list[Mailbox] = []
        self._read = 0
        self._background: list[asyncio.Task[None]] = []

    async def open(self, mailboxes: Collection[Mailbox]) -> None:
        """Listen at these mailboxes; see `Messenger.open`."""
        await self._stop_listening()
        self._inbox.reset()
        self._mailboxes = list(mailboxes)
        if not self._mailboxes:
            return
        self._read = await self._thread.run(
            lambda database: database.write(self._enter, self._timeout_s, durable=False)
        )
        self._background = [asyncio.create_task(self._inbox.watch(one)) for one in (self._listen, self._stay_alive)]

    async def send(self, address: Address, letters: Sequence[Message]) -> None:
        """Put letters into the file, if anybody listens; see `Messenger.send`."""

        def work(database: Database) -> None:
            now = time.time()
            if database.read(lambda connection: table.is_heard(connection, address.exchange, now), self._timeout_s):
                database.write(
                    lambda connection: table.put(connection, address.exchange, letters, now),
                    self._timeout_s,
                    durable=False,
                )

        await self._thread.run(work)

    async def receive(self) -> list[Message]:
        """Wait for the next letters; see `Messenger.receive`."""
        return await self._inbox.get()

    async def close(self) -> None:
        """Listen no more, close the connection and end the thread; idempotent."""
        try:
            await self._stop_listening()
        except OperationalError:
            pass  # the others will notice that nobody puts it off
        await self._thread.close()

    async def _stop_listening(self) -> None:
        background, self._background = self._background, []
        for task in background:
            task.cancel()
        places, self._mailboxes = self._places(), []
        if places:
            await self._thread.run(
                lambda database: database.write(
                    lambda connection: table.end_mailboxes(connection, places), self._timeout_s, durable=False
                )
            )

    def _places(self) -> list[tuple[str, str]]:
        return [(mailbox.queue, mailbox.address.exchange) for mailbox in self._mailboxes]

    def _enter(self, connection: sqlite3.Connection) -> int:
        table.keep_mailboxes(connection, self._places(), time.time())
        return table.last_number(connection)

    async def _stay_alive(self) -> None:
        while True:
            await asyncio.sleep(_SIGN_OF_LIFE_EVERY_S)
            await self._thread.run(lambda database: database.write(self._enter, self._timeout_s, durable=False))

    async def _listen(self) -> None:
        exchanges = sorted({mailbox.address.exchange for mailbox in self._mailboxes})

        def look(database: Database) -> _Found:
            version = database.version(self._timeout_s)
            read = self._read
            return _Found(
                database.read(lambda connection: table.after(connection, read, exchanges), self._timeout_s), version
            )

        while True:
            found = await self._thread.run(look)
            for number, payload in found.letters:
                self._read = number
                self._take_in(payload)
            await self._thread.changed(found.version, _SIGN_OF_LIFE_EVERY_S)

    def _take_in(self, payload: bytes) -> None:
        try:
            letter = stored.decode(payload)
        except BadMessage as error:
            logger.warning("a letter is not read: %s", error)
            return
        if any(is_for(mailbox, letter) for mailbox in self._mailboxes):
            self._inbox.put(letter)
