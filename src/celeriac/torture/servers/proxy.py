"""A proxy before a server: it passes everything on, cuts, is silent, or lets connections die of which nobody is told."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from typing import Final, Self
from urllib.parse import urlsplit, urlunsplit

from celeriac.torture.servers.service import HOST, free_port

_READ_BYTES: Final = 65_536
_CALL_S: Final = 30.0


class _Pair:
    """The two ends of one connection."""

    def __init__(self, client: asyncio.StreamWriter) -> None:
        self.writers = [client]
        self.dead = False
        """Half open: what is written to it is swallowed, and nobody is told, for ever."""

    def close(self) -> None:
        for writer in self.writers:
            writer.transport.abort()


class Proxy:
    """Duties: 1. take connections on a port of its own and pass everything on, both ways; 2. do to them what a network does.

    It lives in one thread of its own. Every method may be called from any thread, and has happened when it returns.
    """

    def __init__(self, port: int, host: str = HOST) -> None:
        """Stand before the server at `host` and `port`, which need not be there yet."""
        self._server = (host, port)
        self.port = free_port()
        self.delay_s = 0.0
        """What arrives is passed on after so long."""
        self._swallowing = False
        self._pairs: set[_Pair] = set()
        self._loop = asyncio.new_event_loop()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._closed = asyncio.Event()
        listening = socket.create_server((HOST, self.port), backlog=512)
        self._thread = threading.Thread(target=self._run, args=(listening,), name="proxy", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def url(self, of: str) -> str:
        """Return the URL of the server as it is reached through here."""
        parts = urlsplit(of)
        user, at, _ = parts.netloc.rpartition("@")
        return urlunsplit(parts._replace(netloc=f"{user}{at}{HOST}:{self.port}"))

    @property
    def connections(self) -> int:
        """How many connections are open, dead ones too."""
        return len(self._pairs)

    def cut(self) -> None:
        """Reset every connection, on both sides."""
        self._do(self._close_all)

    def kill_silently(self) -> None:
        """Leave every connection half open: nothing of it goes through any more and nobody is told. New ones are passed."""

        def swallow() -> None:
            for pair in self._pairs:
                pair.dead = True

        self._do(swallow)

    def swallow(self, swallowing: bool = True) -> None:
        """Take new connections, and say nothing to them, for as long as they last."""
        self._swallowing = swallowing

    def freeze(self) -> None:
        """Let nothing through, until it is thawed: what was written meanwhile arrives then."""
        self._do(self._flowing.clear)

    def thaw(self) -> None:
        """Let everything go on. Idempotent."""
        self._do(self._flowing.set)

    def close(self) -> None:
        """Close everything. Idempotent."""
        if self._thread.is_alive():
            self._do(self._closed.set)
            self._thread.join(_CALL_S)

    # -- in its thread ------------------------------------------------------------------------------------------------

    def _close_all(self) -> None:
        for pair in list(self._pairs):
            pair.close()

    def _do(self, what: Callable[[], object]) -> None:
        done = threading.Event()

        def do() -> None:
            what()
            done.set()

        self._loop.call_soon_threadsafe(do)
        if not done.wait(_CALL_S):
            raise TimeoutError(f"the proxy on port {self.port} does not answer")

    def _run(self, listening: socket.socket) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve(listening))

    async def _serve(self, listening: socket.socket) -> None:
        async with await asyncio.start_server(self._connected, sock=listening):
            await self._closed.wait()
            self._close_all()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pair = _Pair(writer)
        pair.dead = self._swallowing
        self._pairs.add(pair)
        try:
            await self._flowing.wait()
            if pair.dead:
                while await reader.read(_READ_BYTES):
                    pass
                return
            server_reader, server_writer = await asyncio.open_connection(*self._server)
            pair.writers.append(server_writer)
            await asyncio.gather(self._pass(pair, reader, server_writer), self._pass(pair, server_reader, writer))
        except asyncio.CancelledError:  # the proxy is closed; an asyncio server would call it an error
            pass
        except OSError:
            pass  # the server is away: so is the proxy
        finally:
            self._pairs.discard(pair)
            pair.close()

    async def _pass(self, pair: _Pair, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(_READ_BYTES):
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                await self._flowing.wait()
                if not pair.dead:
                    writer.write(data)
                    await writer.drain()
        except OSError:
            pass  # reset: as good as closed
        if not pair.dead:
            pair.close()
