"""What forked executors tell the test's process besides their reports: log records, and the messages that their tasks send."""

from __future__ import annotations

import logging
import os
import pickle
import socket
import tempfile
import traceback
from collections.abc import Sequence
from typing import Any, Final, NoReturn

from celeriac.core.message import Message
from celeriac.core.ports import Broker, Producer
from celeriac.exceptions import ImproperlyConfigured

PACKET_MAX_BYTES: Final = 64 * 1024
"""A larger note goes through a file."""
_STANDARD: Final = frozenset(vars(logging.makeLogRecord({})))

Note = logging.LogRecord | list[Message]


def make_channel() -> tuple[socket.socket, socket.socket]:
    """Return the reading and the writing end; many processes may write, a note is never cut."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    return ours, theirs


def send(channel: socket.socket, note: tuple[str, Any]) -> None:
    """Write a note; blocks while the other side does not read. Raises `OSError` when nobody reads any more."""
    payload = pickle.dumps(note)
    if len(payload) <= PACKET_MAX_BYTES:
        channel.send(payload)
        return
    with tempfile.TemporaryFile() as file:
        file.write(payload)
        file.flush()
        socket.send_fds(channel, [b"file"], [file.fileno()])


def receive(channel: socket.socket) -> Note | None:
    """Return the next note, None when all writers are gone. Raises `BlockingIOError` when there is none now."""
    payload, descriptors, _flags, _address = socket.recv_fds(channel, PACKET_MAX_BYTES, 1)
    if not payload:
        return None
    if descriptors:
        with os.fdopen(descriptors[0], "rb") as file:
            file.seek(0)
            payload = file.read()
    # Only our own forks hold the other end.
    kind, content = pickle.loads(payload)
    return logging.makeLogRecord(content) if kind == "log" else content


class ForwardingHandler(logging.Handler):
    """Sends every record to the test's process, whose own loggers and handlers decide what becomes of it."""

    def __init__(self, channel: socket.socket) -> None:
        super().__init__()
        self._channel = channel

    def emit(self, record: logging.LogRecord) -> None:
        """Send one record."""
        try:
            send(self._channel, ("log", _portable(record)))
        except OSError:
            return  # the test is over

    @classmethod
    def install(cls, channel: socket.socket) -> None:
        """Have all records of this process sent, whatever its loggers were set to: levels are judged on the other side."""
        root = logging.getLogger()
        root.handlers[:] = [cls(channel)]
        root.setLevel(1)
        logging.disable(logging.NOTSET)
        for logger in root.manager.loggerDict.values():
            if isinstance(logger, logging.Logger):
                logger.handlers.clear()
                logger.setLevel(logging.NOTSET)
                logger.propagate = True
                logger.disabled = False


def handle(record: logging.LogRecord) -> None:
    """Let a record that has come go the way of any other."""
    logger = logging.getLogger(record.name)
    if logger.isEnabledFor(record.levelno):
        logger.handle(record)


def _portable(record: logging.LogRecord) -> dict[str, Any]:
    fields = dict(vars(record))
    fields["msg"], fields["args"] = record.getMessage(), None
    if record.exc_info and record.exc_info[0] is not None:
        fields["exc_text"] = record.exc_text or "".join(traceback.format_exception(*record.exc_info)).rstrip("\n")
        fields["exc_info"] = (record.exc_info[0], record.exc_info[1], None)
    for name in fields.keys() - _STANDARD | {"exc_info"}:
        if not _can_be_pickled(fields[name]):
            fields[name] = None if name == "exc_info" else repr(fields[name])
    return fields


def _can_be_pickled(value: Any) -> bool:
    try:
        pickle.loads(pickle.dumps(value))
    except Exception:  # whatever a foreign object does when it is pickled
        return False
    return True


class ForwardingBroker:
    """The memory broker as a forked executor has it: what is sent goes to the test's process, and nothing else can be done."""

    durable = False

    def __init__(self, channel: socket.socket, broker: Broker) -> None:
        """`broker` is the one that it stands for."""
        self._channel = channel
        self.urgent_first = broker.urgent_first
        self.queues = broker.queues
        self._shown_url = broker.shown_url()

    def producer(self) -> Producer:
        """Return a producer that hands messages over."""
        return _Producer(self._channel)

    def admin(self) -> NoReturn:
        """Refuse."""
        self._refuse()

    def consumer(self) -> NoReturn:
        """Refuse."""
        self._refuse()

    def messenger(self) -> NoReturn:
        """Refuse."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise ImproperlyConfigured(
            "the memory broker is in the test's process, and this task in a fork of it, where it can only send calls: use"
            " pool='threads', or another broker"
        )

    def shown_url(self) -> str:
        """Return the URL."""
        return self._shown_url


class _Producer:
    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel

    def publish(self, messages: Sequence[Message], timeout_s: float) -> None:
        """Hand messages over: they are published before the end of the task that sends them is settled."""
        send(self._channel, ("publish", list(messages)))

    def close(self) -> None:
        """There is nothing to close."""
