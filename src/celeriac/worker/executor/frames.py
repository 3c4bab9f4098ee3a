"""What core and executor say to each other.

Down goes one job per packet on a socket of sequenced packets: an executor takes the next job only when it has a free slot, and
what it has not taken the core can take back itself, by reading the other end, however busy the executor is (ADR 0002).  Up goes
a stream of length-prefixed reports.
"""

from __future__ import annotations

import mmap
import os
import socket
import struct
import sys
import tempfile
from typing import Any, Final

import msgspec
from msgspec import Struct

from celeriac.core.effects import Follows, Record, Verdict
from celeriac.core.message import Message
from celeriac.core.outcome import Ending
from celeriac.exceptions import CeleriacError
from celeriac.worker.time_limits import Limits

PACKET_MAX_BYTES: Final = 96 * 1024
"""A larger job goes through a file, because a packet must fit into the socket's send buffer (about 200 kB on Linux)."""

_UNWRITABLE: Final = (TypeError, ValueError, OverflowError, RecursionError)
"""What the encoder raises: integers over 64 bits, lone surrogates, too deep a nesting, foreign types."""
_LENGTH: Final = struct.Struct(">I")
_INT_BYTES: Final = struct.calcsize("i")
_ANCILLARY_BYTES: Final = socket.CMSG_LEN(_INT_BYTES)


class FrameError(CeleriacError):
    """Something cannot be written as a frame, or a frame cannot be read."""


class Job(Struct, array_like=True):
    """One message to be run; with an `ending`, one that is over already and only has to be concluded."""

    number: int
    """Counts up per executor; reports refer to it."""
    message: Message
    redelivered: bool = False
    ending: Ending | None = None
    quiet: bool = False
    """With an `ending`: conclude it without calling handlers, listeners or errbacks of the program."""
    tells: bool = False
    """Its end is to be told to those who listen to events."""
    limits: Limits | None = None
    """Time limits of its task that were set while the worker runs."""


class Started(Struct, tag="started", array_like=True):
    """First report: the executor has imported everything and takes jobs."""

    pid: int


class Progress(Struct, tag="progress", array_like=True):
    """A state to store while the task runs."""

    number: int
    record: Record


class Done(Struct, tag="done", array_like=True):
    """A job is over; everything that follows is ready to be settled."""

    number: int
    verdict: Verdict
    follows: Follows | None = None
    """None for nothing, as most often."""
    runtime_s: float = 0.0
    event: dict[str, Any] | None = None
    """The fields of the event about its end, where it is to be told."""


Report = Started | Progress | Done

_job_encoder = msgspec.msgpack.Encoder()
_job_decoder = msgspec.msgpack.Decoder(Job)
_report_encoder = msgspec.msgpack.Encoder()
_report_decoder = msgspec.msgpack.Decoder(Report)


def encode_job(job: Job) -> bytes:
    """Write a job as the payload of one packet. Raises `FrameError` for a message with a value that no frame can carry."""
    try:
        return _job_encoder.encode(job)
    except _UNWRITABLE as error:
        raise FrameError(f"the message cannot be handed to an executor: {type(error).__name__}: {error}") from None


def send_job(sock: socket.socket, payload: bytes) -> None:
    """Send one job without blocking; raises `BlockingIOError` when the executor's buffer is full."""
    if len(payload) <= PACKET_MAX_BYTES:
        sock.send(payload)
        return
    with tempfile.TemporaryFile() as file:
        file.write(payload)
        file.flush()
        socket.send_fds(sock, [b"\xc1"], [file.fileno()])  # 0xc1 is the one byte that MessagePack never uses


def receive_job(sock: socket.socket, flags: int = 0) -> Job | None:
    """Take the next job; None when the core has gone. Blocks, or raises `BlockingIOError`, as socket and flags are set."""
    # Not socket.recv_fds: up to Python 3.11 it drops the flags.
    payload, ancillary, _flags, _address = sock.recvmsg(PACKET_MAX_BYTES + 1, _ANCILLARY_BYTES, flags)
    if not payload:
        return None
    if ancillary:
        descriptor = int.from_bytes(ancillary[0][2][:_INT_BYTES], sys.byteorder)
        with os.fdopen(descriptor, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
            payload = view[:]
    return _job_decoder.decode(payload)


def encode_report(report: Report) -> bytes:
    """Write a report with its length before it. Raises `FrameError`."""
    try:
        body = _report_encoder.encode(report)
    except _UNWRITABLE as error:
        raise FrameError(f"what follows cannot be reported: {type(error).__name__}: {error}") from None
    return _LENGTH.pack(len(body)) + body


class ReportReader:
    """Cuts the stream of one executor into reports."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Report]:
        """Add received bytes and return the reports that are complete. Raises `FrameError` for one that is none."""
        buffer = self._buffer
        buffer += data
        reports = []
        position = 0
        with memoryview(buffer) as view:
            while len(buffer) - position >= _LENGTH.size:
                (length,) = _LENGTH.unpack_from(buffer, position)
                end = position + _LENGTH.size + length
                if end > len(buffer):
                    break
                try:
                    reports.append(_report_decoder.decode(view[position + _LENGTH.size : end]))
                except msgspec.MsgspecError as error:
                    raise FrameError(f"an executor reported what is no report: {error}") from None
                position = end
        del buffer[:position]
        return reports
