"""A relay before a server that cuts a connection at the n-th command of its client, before or after the server has carried it out."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Final, Literal

AMQP_SETTLES_S: Final = 0.03
"""RabbitMQ answers few frames: so long it is given to take one in, before it hears that the connection is gone."""

Moment = Literal["before", "after"]
"""The n-th command never arrives, or it arrives and its answer does not."""
Fate = Moment | Literal["never"] | None
"""What becomes of a command: its connection is cut, it is swallowed, or it is passed on."""


class Redis:
    """Finds commands and replies in what Redis and its clients say (RESP 2 and 3)."""

    answers = True

    def end_of_command(self, data: bytes) -> int:
        """Return where the first command ends, 0 if it is not complete yet."""
        return self._end(data, 0)

    def end_of_reply(self, data: bytes) -> tuple[int, bool]:
        """Return where the first message of the server ends, 0 if it is not complete, and whether it answers a command."""
        return self._end(data, 0), data[:1] != b">"

    def _end(self, data: bytes, at: int) -> int:
        line_end = data.find(b"\r\n", at)
        if line_end < 0:
            return 0
        kind, after = data[at : at + 1], line_end + 2
        if kind in b"$=!":
            after += max(int(data[at + 1 : line_end]) + 2, 0) if data[at + 1 : at + 2] != b"-" else 0
            return after if after <= len(data) else 0
        if kind in b"*~>%|":
            for _ in range(max(int(data[at + 1 : line_end]), 0) * (2 if kind in b"%|" else 1)):
                if not (after := self._end(data, after)):
                    return 0
        return after


class Amqp:
    """Finds frames in what RabbitMQ and its clients say."""

    answers = False

    def end_of_command(self, data: bytes) -> int:
        """Return where the first frame (or the greeting) ends, 0 if it is not complete yet."""
        if data.startswith(b"AMQP"):
            return 8 if len(data) >= 8 else 0
        end = 8 + int.from_bytes(data[3:7], "big")
        return end if len(data) >= max(end, 8) else 0

    def end_of_reply(self, data: bytes) -> tuple[int, bool]:
        """Pass everything on."""
        return len(data), False


class Cutter:
    """Takes connections on a port of its own and passes everything on, in a thread of its own.

    1. Counts the commands of all its clients from `arm` on.
    2. Cuts the connection of the n-th one; `for_good`: all of them, and takes no new ones until it is armed again.
    3. Swallows what clients say, while the server still says what it has to say, until they are cut.
    """

    def __init__(self, host: str, port: int, protocol: Redis | Amqp) -> None:
        self._server = (host, port)
        self._protocol = protocol
        self._lock = threading.Lock()
        self._seen = 0
        self._cut_at: set[int] = set()
        self._moment: Moment = "before"
        self._for_good = False
        self._is_gone = False
        self._is_swallowing = False
        self.swallowed = 0
        """Commands that were swallowed."""
        self._open: set[_Passing] = set()
        self._loop = asyncio.new_event_loop()
        self._listening = self._loop.run_until_complete(asyncio.start_server(self._accept, "127.0.0.1", 0))
        self.port: int = self._listening.sockets[0].getsockname()[1]
        self._thread = threading.Thread(target=self._loop.run_forever, name="cutter", daemon=True)
        self._thread.start()

    def arm(self, *numbers: int, moment: Moment = "before", for_good: bool = False) -> None:
        """Count from now on, and cut at the commands of these numbers (1..)."""
        with self._lock:
            self._seen, self._cut_at, self._moment, self._for_good = 0, set(numbers), moment, for_good
            self._is_gone = False

    @property
    def seen(self) -> int:
        """Commands since it was armed."""
        return self._seen

    @property
    def has_cut(self) -> bool:
        """Whether every cut has been made that it was armed for."""
        return not self._cut_at

    def swallow(self) -> None:
        """From now on let no command arrive."""
        with self._lock:
            self._is_swallowing, self.swallowed = True, 0

    def cut(self) -> None:
        """Cut every connection now, and swallow nothing any more."""

        def abort() -> None:
            self._is_swallowing = False
            for passing in self._open:
                passing.abort()

        self._loop.call_soon_threadsafe(abort)

    def close(self) -> None:
        """Close every connection."""
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        self._listening.close()
        for passing in list(self._open):
            passing.abort()
        await self._listening.wait_closed()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_gone:
            writer.transport.abort()
            return
        server_reader, server_writer = await asyncio.open_connection(*self._server)
        passing = _Passing(self._protocol, self._count, writer, server_writer)
        self._open.add(passing)
        try:
            await passing.run(reader, server_reader)
        finally:
            passing.abort()
            self._open.discard(passing)

    def _count(self) -> Fate:
        """Count a command; returns how its connection is cut, if it is."""
        with self._lock:
            self._seen += 1
            if self._is_swallowing:
                self.swallowed += 1
                return "never"
            if self._is_gone:
                return "before"
            if self._seen not in self._cut_at:
                return None
            self._cut_at.discard(self._seen)
            self._is_gone = self._for_good
            if self._is_gone and self._moment == "before":
                for passing in self._open:
                    passing.abort()
            return self._moment


class _Passing:
    """One connection and the one behind it."""

    def __init__(
        self,
        protocol: Redis | Amqp,
        count: Callable[[], Fate],
        client: asyncio.StreamWriter,
        server: asyncio.StreamWriter,
    ) -> None:
        self._protocol = protocol
        self._count = count
        self._client = client
        self._server = server
        self._asked = 0
        self._answered = 0
        self._cut_after: int | None = None
        """The reply of this number is the first that the client does not get."""

    def abort(self) -> None:
        """Cut both sides."""
        self._client.transport.abort()
        self._server.transport.abort()

    async def run(self, client: asyncio.StreamReader, server: asyncio.StreamReader) -> None:
        """Pass on until one side ends, or the connection is cut."""
        ways: list[Coroutine[Any, Any, None]] = [self._commands(client), self._replies(server)]
        tasks = [asyncio.ensure_future(way) for way in ways]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _commands(self, client: asyncio.StreamReader) -> None:
        data = b""
        while chunk := await client.read(65_536):
            data += chunk
            while end := self._protocol.end_of_command(data):
                command, data = data[:end], data[end:]
                moment = self._count()
                if moment == "never":
                    continue
                if moment == "before":
                    return
                self._asked += 1
                if moment == "after":
                    await self._cut_when_done(command)
                    return
                self._server.write(command)

    async def _cut_when_done(self, command: bytes) -> None:
        if self._protocol.answers:
            self._cut_after = self._asked
            self._server.write(command)
            await asyncio.Event().wait()  # the reply's reader ends it
        self._server.write(command)
        self._client.transport.abort()
        await asyncio.sleep(AMQP_SETTLES_S)

    async def _replies(self, server: asyncio.StreamReader) -> None:
        data = b""
        while chunk := await server.read(65_536):
            data += chunk
            while data:
                end, is_answer = self._protocol.end_of_reply(data)
                if not end:
                    break
                self._answered += is_answer
                if self._cut_after is not None and self._answered >= self._cut_after:
                    return
                self._client.write(data[:end])
                data = data[end:]
