"""Redis' protocol without any I/O: how commands become bytes and bytes replies, and how a connection begins."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import hiredis

from celeriac.transports.redis.address import Address
from celeriac.transports.redis.errors import ReplyError

Word = str | bytes | int | float

INCOMPLETE: Final = object()
"""What a reader returns when the rest of a reply is still under way."""

MIN_VERSION: Final = (6, 2)

_KEEPALIVE_IDLE_S: Final = 15
_KEEPALIVE_INTERVAL_S: Final = 5
_KEEPALIVE_PROBES: Final = 3


def make_reader(sent_away: Callable[[ReplyError], None]) -> hiredis.Reader:
    """Return a parser of replies: bulk strings as bytes, errors as `ReplyError` objects (not raised).

    `sent_away` is told of errors, also those within a transaction's reply, that say that another server is the one to talk to.
    """

    def make_error(text: str) -> ReplyError:
        error = ReplyError(text)
        if error.ends_connection:
            sent_away(error)
        return error

    return hiredis.Reader(replyError=make_error, notEnoughData=INCOMPLETE)


def pack(*words: Word) -> bytes:
    """Return one command as it goes over the wire."""
    packed: bytes = hiredis.pack_command(words)  # type: ignore[arg-type]  # its stub means a tuple of one
    return packed


def pack_all(commands: Iterable[Sequence[Word]]) -> bytes:
    """Return many commands as they go over the wire."""
    return b"".join([pack(*command) for command in commands])


def greeting(address: Address) -> list[list[Word]]:
    """Return the commands that open a connection: protocol 3, login, name, database."""
    commands: list[list[Word]] = [["HELLO", 3, *address.credentials(), "SETNAME", "celeriac"]]
    if address.db:
        commands.append(["SELECT", address.db])
    return commands


def check_greeting(address: Address, replies: Sequence[Any]) -> tuple[int, ...]:
    """Return the server's version.

    Raises `ReplyError` for a refused greeting, for a server that is too old, and for a node of a cluster where none is expected.
    """
    for reply in replies:
        if isinstance(reply, ReplyError):
            if reply.code == "ERR" and "unknown command" in str(reply):
                raise ReplyError(f"VERSION older than 6.0, and {_wanted()} is the least")
            raise reply
    hello = replies[0]
    text = hello.get(b"version", b"0") if isinstance(hello, dict) else b"0"
    version = tuple(int(number) for number in re.findall(rb"\d+", text)[:3])
    if version < MIN_VERSION:
        raise ReplyError(f"VERSION {text.decode()}, and {_wanted()} is the least")
    if address.slot is None and isinstance(hello, dict) and hello.get(b"mode") == b"cluster":
        raise ReplyError("CROSSSLOT keys of one message would be on several nodes")
    return version


def raise_errors(replies: Sequence[Any]) -> None:
    """Raise the first error that stands among replies."""
    for reply in replies:
        if isinstance(reply, ReplyError):
            raise reply


def keep_alive(tcp: socket.socket) -> None:
    """Send at once, and notice a peer that is gone within half a minute even while nothing is sent."""
    tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    tcp.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (  # by name, because not every platform has each
        ("TCP_KEEPIDLE", _KEEPALIVE_IDLE_S),
        ("TCP_KEEPINTVL", _KEEPALIVE_INTERVAL_S),
        ("TCP_KEEPCNT", _KEEPALIVE_PROBES),
    ):
        if hasattr(socket, name):
            tcp.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _wanted() -> str:
    return ".".join(str(number) for number in MIN_VERSION)
