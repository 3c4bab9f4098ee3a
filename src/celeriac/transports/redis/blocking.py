"""Blocking connections to Redis that keep a deadline in everything they do, and a pool of them for threads and forks."""

from __future__ import annotations

import contextlib
import os
import queue
import select
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

import hiredis

from celeriac.transports.redis.address import Address
from celeriac.transports.redis.errors import ConnectionLost, OutcomeUnknown, ReplyError
from celeriac.transports.redis.protocol import (
    INCOMPLETE,
    Word,
    check_greeting,
    greeting,
    keep_alive,
    make_reader,
    pack_all,
    raise_errors,
)
from celeriac.transports.redis.scripts import Script, load_scripts

_READ_BYTES: Final = 65536
_MAX_IDLE: Final = 16
"""Connections kept for reuse; more threads at once than that open their own for a call."""


class BlockingConnection:
    """One socket to Redis.

    1. Connects and logs in, or raises before the deadline, whatever does not answer: name server, host, or Redis.
    2. Sends commands and reads exactly as many replies.
    3. Says whether a failure left the outcome open (`OutcomeUnknown`) or nothing can have happened (`ConnectionLost`).

    Not thread-safe. After an error it is closed and of no further use.  Deadlines are times of `time.monotonic`.
    """

    def __init__(self, address: Address, deadline: float) -> None:
        """Connect. Raises `ConnectionLost`, and `ReplyError` if Redis refuses us."""
        self._socket = _connect(address, deadline)
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)
        self._reader = make_reader()
        commands = greeting(address)
        try:
            self.version = check_greeting(self.call(pack_all(commands), len(commands), deadline))
        except OutcomeUnknown as error:
            raise ConnectionLost(str(error)) from None  # a greeting changes nothing
        except BaseException:
            self.close()
            raise

    def is_fresh(self) -> bool:
        """Tell whether the idle connection is still good: nobody has closed it, and nothing unasked has come."""
        return not self._poll.poll(0)

    def call(self, packed: bytes, replies: int, deadline: float) -> list[Any]:
        """Send packed commands and return their replies; errors among them are `ReplyError` objects.

        Raises `ConnectionLost` if the last command cannot have been executed, else `OutcomeUnknown`.
        """
        try:
            self._send(packed, deadline)
            return [self._receive(deadline) for _ in range(replies)]
        except BaseException:  # an interrupted call too: its reply must not be taken for another's
            self.close()
            raise

    def close(self) -> None:
        """Close the socket; idempotent."""
        self._socket.close()

    def _send(self, packed: bytes, deadline: float) -> None:
        try:
            self._socket.settimeout(max(deadline - time.monotonic(), 0.001))
            self._socket.sendall(packed)
        except TimeoutError:
            raise ConnectionLost("the time was over before the command had been sent") from None
        except OSError as error:
            raise ConnectionLost(f"the connection broke while a command was sent: {_text(error)}") from None

    def _receive(self, deadline: float) -> Any:
        try:
            while (reply := self._reader.gets()) is INCOMPLETE:
                self._socket.settimeout(max(deadline - time.monotonic(), 0.001))
                data = self._socket.recv(_READ_BYTES)
                if not data:
                    raise OutcomeUnknown("the connection was closed before the answer")
                self._reader.feed(data)
        except TimeoutError:
            raise OutcomeUnknown("it did not answer in time") from None
        except OSError as error:
            raise OutcomeUnknown(f"the connection broke before the answer: {_text(error)}") from None
        except hiredis.ProtocolError as error:
            raise OutcomeUnknown(f"it does not speak Redis' protocol: {error}") from None
        return reply


class Pool:
    """Connections for a process's threads.

    1. Hands each call a connection of its own, connecting where none is idle.
    2. Never reuses one that broke, that the server has closed, or that belongs to a parent process.

    Thread-safe and fork-safe: it holds no lock.
    """

    def __init__(self, address: Address, connect_timeout_s: float) -> None:
        self._address = address
        self._connect_timeout_s = connect_timeout_s
        self._idle: tuple[int, deque[BlockingConnection]] = (os.getpid(), deque())

    def call(self, packed: bytes, replies: int, deadline: float) -> list[Any]:
        """Send packed commands over some connection and return their replies; see `BlockingConnection.call`."""
        connection = self._reused()
        if connection is not None:
            try:
                return self._use(connection, packed, replies, deadline)
            except OutcomeUnknown:
                raise
            except ConnectionLost:
                pass  # it had grown old unnoticed, and nothing was done: once more, with a new one
        return self._use(self._connected(deadline), packed, replies, deadline)

    def ask(self, *commands: Sequence[Word], deadline: float) -> list[Any]:
        """Send commands and return their replies. Raises the first `ReplyError` among them, too."""
        replies = self.call(pack_all(commands), len(commands), deadline)
        raise_errors(replies)
        return replies

    def run(self, script_name: str, keys: Sequence[str], *args: Word, deadline: float) -> Any:
        """Run a script and return its reply."""
        script = self.script(script_name, deadline)
        try:
            return self.ask(["EVALSHA", script.sha, len(keys), *keys, *args], deadline=deadline)[0]
        except ReplyError as error:
            if error.code != "NOSCRIPT":
                raise
        return self.ask(["EVAL", script.source, len(keys), *keys, *args], deadline=deadline)[0]

    def script(self, name: str, deadline: float) -> Script:
        """Return a script as the server wants it."""
        return load_scripts(self._version(deadline)).named(name)

    def close(self) -> None:
        """Close all idle connections; idempotent, and a later call connects again."""
        idle = self._of_this_process()
        with contextlib.suppress(IndexError):  # another thread may take the last one
            while True:
                idle.pop().close()

    def _use(self, connection: BlockingConnection, packed: bytes, replies: int, deadline: float) -> list[Any]:
        answers = connection.call(packed, replies, deadline)
        idle = self._of_this_process()
        if len(idle) < _MAX_IDLE:
            idle.append(connection)
        else:
            connection.close()
        return answers

    def _of_this_process(self) -> deque[BlockingConnection]:
        pid, idle = self._idle
        if pid != os.getpid():
            for connection in idle:
                connection.close()  # our copy of the parent's socket; the server is told nothing
            idle = deque()
            self._idle = (os.getpid(), idle)
        return idle

    def _version(self, deadline: float) -> tuple[int, ...]:
        connection = self._reused() or self._connected(deadline)
        self._of_this_process().append(connection)
        return connection.version

    def _reused(self) -> BlockingConnection | None:
        idle = self._of_this_process()
        while True:
            try:
                connection = idle.pop()
            except IndexError:
                return None
            if connection.is_fresh():
                return connection
            connection.close()

    def _connected(self, deadline: float) -> BlockingConnection:
        return BlockingConnection(self._address, min(deadline, time.monotonic() + self._connect_timeout_s))


def _connect(address: Address, deadline: float) -> socket.socket:
    try:
        if address.path is not None:
            return _connect_to(socket.AF_UNIX, address.path, deadline)
        problem: OSError | None = None
        for family, target in _resolve(address.host, address.port, deadline):
            try:
                plain = _connect_to(family, target, deadline)
            except OSError as error:
                problem = error
                continue
            keep_alive(plain)
            return _secure(plain, address, deadline)
        raise problem or OSError("the name has no address")
    except TimeoutError:
        raise ConnectionLost("no connection within the time") from None
    except OSError as error:
        raise ConnectionLost(_text(error)) from None


def _connect_to(family: int, target: Any, deadline: float) -> socket.socket:
    plain = socket.socket(family, socket.SOCK_STREAM)
    try:
        plain.settimeout(max(deadline - time.monotonic(), 0.001))
        plain.connect(target)
    except BaseException:
        plain.close()
        raise
    return plain


def _secure(plain: socket.socket, address: Address, deadline: float) -> socket.socket:
    if address.tls is None:
        return plain
    try:
        plain.settimeout(max(deadline - time.monotonic(), 0.001))
        return address.tls.context().wrap_socket(plain, server_hostname=address.host)
    except BaseException:
        plain.close()
        raise


def _resolve(host: str, port: int, deadline: float) -> list[tuple[int, Any]]:
    """Look a name up, in a thread: the system's resolver knows no deadline."""
    answers: queue.SimpleQueue[list[tuple[int, Any]] | OSError] = queue.SimpleQueue()

    def look_up() -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            answers.put([(family, target) for family, _, _, _, target in found])
        except Exception as error:  # told to whoever waits, if anybody still does
            answers.put(error if isinstance(error, OSError) else OSError(str(error)))

    threading.Thread(target=look_up, name="celeriac-resolve", daemon=True).start()
    try:
        answer = answers.get(timeout=max(deadline - time.monotonic(), 0.001))
    except queue.Empty:
        raise ConnectionLost(f"the name {host!r} was not resolved within the time") from None
    if isinstance(answer, OSError):
        raise ConnectionLost(f"the name {host!r} cannot be resolved: {_text(answer)}")
    return answer


def _text(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its TLS certificate is not accepted: {error.verify_message}"
    return error.strerror or str(error) or type(error).__name__
