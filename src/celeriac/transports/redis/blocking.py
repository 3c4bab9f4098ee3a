"""Blocking connections to Redis that keep a deadline in everything they do, and a pool of them for threads and forks."""

from __future__ import annotations

import contextlib
import os
import random
import select
import socket
import time
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

import hiredis

from celeriac.transports import tls
from celeriac.transports.redis.address import CA_OPTION, Address
from celeriac.transports.redis.durability import Durability
from celeriac.transports.redis.errors import UNSECURED, ConnectionLost, OutcomeUnknown, ReplyError
from celeriac.transports.redis.locating import CONFIRM_S, GUIDE_S, master_named, master_question, way_to
from celeriac.transports.redis.protocol import (
    INCOMPLETE,
    Word,
    check_greeting,
    greeting,
    keep_alive,
    make_reader,
    pack,
    pack_all,
    raise_errors,
)
from celeriac.transports.redis.scripts import Script, load_scripts
from celeriac.transports.resolving import Target, resolve

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
        self.place = (address.host, address.port)
        self.confirmed_at = time.monotonic()
        """When it was last known to lead to the server that its address means."""
        self._sent_away = False
        self._reader = make_reader(self._note_sent_away)
        self.is_open = True
        """False after an error, and when the server has said that another one is to be talked to."""
        commands = greeting(address)
        try:
            self.version = check_greeting(address, self.call(pack_all(commands), len(commands), deadline))
        except OutcomeUnknown as error:
            raise ConnectionLost(str(error)) from None  # a greeting changes nothing
        except BaseException:
            self.close()
            raise

    def is_current(self, address: Address) -> bool:
        """Tell whether it leads to the master that Sentinels name now, as far as one of them answers.

        Asked at most every `CONFIRM_S` seconds; takes `GUIDE_S` at most for each Sentinel that is away.
        """
        if not address.master_name or time.monotonic() < self.confirmed_at + CONFIRM_S:
            return True
        named = _named_master(address)
        self.confirmed_at = time.monotonic()
        return named in (None, self.place)

    def is_fresh(self) -> bool:
        """Tell whether the idle connection is still good: nobody has closed it, and nothing unasked has come."""
        return not self._poll.poll(0)

    def call(self, packed: bytes, replies: int, deadline: float) -> list[Any]:
        """Send packed commands and return their replies; errors among them are `ReplyError` objects.

        Raises `ConnectionLost` if the last command cannot have been executed, else `OutcomeUnknown`.
        """
        try:
            self._send(packed, deadline)
            answers = [self._receive(deadline) for _ in range(replies)]
            if self._sent_away:
                self.close()
            return answers
        except BaseException:  # an interrupted call too: its reply must not be taken for another's
            self.close()
            raise

    def close(self) -> None:
        """Close the socket; idempotent."""
        self.is_open = False
        self._socket.close()

    def _note_sent_away(self, error: ReplyError) -> None:
        self._sent_away = True

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
        except (hiredis.ProtocolError, TypeError) as error:  # TypeError: a mapping as a mapping's key
            raise OutcomeUnknown(f"it does not speak Redis' protocol: {error}") from None
        return reply


def open_connection(address: Address, deadline: float) -> BlockingConnection:
    """Connect to the server of an address, asking Sentinels or a cluster where it is. Raises as `BlockingConnection`."""
    if not address.guides:
        return BlockingConnection(address, deadline)
    # In any order: one that knows only what was must not be asked first for ever.
    way = way_to(address, random.sample(address.guides, len(address.guides)))
    step = next(way)
    while True:
        now = time.monotonic()
        until = now + step.share_s(max(deadline - now, 0.001))
        connection: BlockingConnection | None = None
        try:
            if deadline <= now:
                raise ConnectionLost("no time was left to ask it")
            connection = BlockingConnection(step.address, until)
            (reply,) = connection.call(pack(*step.command), 1, until)
            raise_errors([reply])
        except (ConnectionLost, ReplyError) as error:
            if connection is not None:
                connection.close()
            # Asking changes nothing, so its outcome is no matter.
            problem = ConnectionLost(str(error)) if isinstance(error, OutcomeUnknown) else error
            step = way.throw(problem)  # comes back when there is no other way
            continue
        try:
            step = way.send(reply)
        except StopIteration:
            return connection
        except BaseException:
            connection.close()
            raise
        connection.close()


def _named_master(address: Address) -> tuple[str, int] | None:
    for guide in random.sample(address.guides, len(address.guides)):
        until = time.monotonic() + GUIDE_S
        with contextlib.suppress(ConnectionLost, ReplyError):
            sentinel = BlockingConnection(guide, until)
            try:
                (told,) = sentinel.call(pack(*master_question(address)), 1, until)
            finally:
                sentinel.close()
            if (place := master_named(told)) is not None:
                return place
    return None


class Pool:
    """Connections for a process's threads.

    1. Hands each call a connection of its own, connecting where none is idle.
    2. Never reuses one that broke, that the server has closed, or that belongs to a parent process.
    3. After a failure trusts none of the idle ones: they lead to the same server.

    Thread-safe and fork-safe: it holds no lock.
    """

    def __init__(self, address: Address, connect_timeout_s: float, durability: Durability | None = None) -> None:
        """`durability`: what each server must be able to do, see `call_durably`."""
        self._address = address
        self._connect_timeout_s = connect_timeout_s
        self._durability = durability
        self._idle: tuple[int, deque[BlockingConnection]] = (os.getpid(), deque())

    def call(self, packed: bytes, replies: int, deadline: float) -> list[Any]:
        """Send packed commands over some connection and return their replies; see `BlockingConnection.call`."""
        connection = self._reused()
        if connection is not None:
            try:
                answers = self._use(connection, packed, replies, deadline)
            except OutcomeUnknown:
                raise
            except ConnectionLost:
                pass  # it had grown old unnoticed, and nothing was done: once more, with a new one
            else:
                if not _is_refused(answers):
                    return answers
                # Its server is no longer the one to talk to: once more, with a connection to the one that is now.
        return self._use(self._connected(deadline), packed, replies, deadline)

    def ask(self, *commands: Sequence[Word], deadline: float, durably: bool = False) -> list[Any]:
        """Send commands and return their replies. Raises the first `ReplyError` among them, too.

        `durably`: what was written is to be as secure as wanted; if it is not in time, raises the `ReplyError` UNSECURED.
        """
        call = self.call_durably if durably else self._call_simply
        replies, shortfall = call(pack_all(commands), len(commands), deadline)
        raise_errors(replies)
        if shortfall is not None:
            raise ReplyError(f"{UNSECURED} {shortfall}")
        return replies

    def call_durably(self, packed: bytes, replies: int, deadline: float) -> tuple[list[Any], str | None]:
        """As `call`, and then wait until what was written is as secure as `durability` wants it, if it wants anything.

        Returns the replies, and what is missing for that, None if nothing is: then the writes have been made, but may be lost yet.
        """
        durability = self._durability
        if durability is None:
            return self._call_simply(packed, replies, deadline)
        waiting = pack(*durability.command(deadline - time.monotonic()))
        *answers, secured = self.call(packed + waiting, replies + 1, deadline)
        return answers, durability.shortfall(secured)

    def run(self, script_name: str, keys: Sequence[str], *args: Word, deadline: float, durably: bool = False) -> Any:
        """Run a script and return its reply; `durably` as in `ask`."""
        script = self.script(script_name, deadline)
        try:
            return self.ask(["EVALSHA", script.sha, len(keys), *keys, *args], deadline=deadline, durably=durably)[0]
        except ReplyError as error:
            if error.code != "NOSCRIPT":
                raise
        return self.ask(["EVAL", script.source, len(keys), *keys, *args], deadline=deadline, durably=durably)[0]

    def script(self, name: str, deadline: float) -> Script:
        """Return a script as the server wants it."""
        return load_scripts(self._version(deadline)).named(name)

    def close(self) -> None:
        """Close all idle connections; idempotent, and a later call connects again."""
        idle = self._of_this_process()
        with contextlib.suppress(IndexError):  # another thread may take the last one
            while True:
                idle.pop().close()

    def _call_simply(self, packed: bytes, replies: int, deadline: float) -> tuple[list[Any], None]:
        return self.call(packed, replies, deadline), None

    def _use(self, connection: BlockingConnection, packed: bytes, replies: int, deadline: float) -> list[Any]:
        try:
            answers = connection.call(packed, replies, deadline)
        finally:
            if not connection.is_open:
                self.close()
        if connection.is_open:
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
            if connection.is_fresh() and connection.is_current(self._address):
                return connection
            connection.close()

    def _connected(self, deadline: float) -> BlockingConnection:
        until = min(deadline, time.monotonic() + self._connect_timeout_s)
        connection = open_connection(self._address, until)
        if self._durability is not None:
            try:
                (able,) = connection.call(pack(*self._durability.probe), 1, until)
            except OutcomeUnknown as error:
                raise ConnectionLost(str(error)) from None  # it has written nothing
            if (refusal := self._durability.refusal(able, connection.version)) is not None:
                connection.close()
                raise refusal
        return connection


def _is_refused(answers: Sequence[Any]) -> bool:
    """Tell whether a server has sent us away and done nothing: no command, or a transaction that it did not carry out."""
    errors = [answer for answer in answers if isinstance(answer, ReplyError)]
    if not any(error.ends_connection for error in errors) or any(error.code == "UNBLOCKED" for error in errors):
        return False
    return all(answer in (b"OK", b"QUEUED") for answer in answers if not isinstance(answer, ReplyError))


def _connect(address: Address, deadline: float) -> socket.socket:
    try:
        if address.path is not None:
            return _connect_to(socket.AF_UNIX, address.path, deadline)
        problem: OSError | None = None
        for family, target in _resolve(address, deadline):
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


def _resolve(address: Address, deadline: float) -> list[Target]:
    try:
        return resolve(address.host, address.port, deadline)
    except OSError as error:
        raise ConnectionLost(_text(error)) from None


def _text(error: OSError) -> str:
    return tls.explain(error, CA_OPTION) or error.strerror or str(error) or type(error).__name__
