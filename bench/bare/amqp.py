"""One AMQP connection over a blocking socket: what the bare loop needs of the protocol, and nothing else.

Tables and frames are written by Celeriac's own codec, because a second one would be no smaller.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from celeriac.transports.amqp.protocol import frames, methods
from celeriac.transports.amqp.protocol.properties import encode_properties

CHANNEL: Final = 1
FRAME_MAX: Final = 131_072
READ_BYTES: Final = 262_144
_HEAD: Final = struct.Struct(">BHI")
_CONFIRM: Final = struct.Struct(">QB")


class Link:
    """A connection with one channel."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._socket = socket.create_connection((parts.hostname or "127.0.0.1", parts.port or 5672))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._read = b""
        self._frames = self._arriving()
        self.write(frames.PREAMBLE)
        self._until(methods.CONNECTION_START)
        login = methods.connection_start_ok({}, parts.username or "guest", parts.password or "guest")
        self.write(frames.method_frame(0, login))
        self._until(methods.CONNECTION_TUNE)
        for payload in (methods.connection_tune_ok(1, FRAME_MAX, 0), methods.connection_open(parts.path[1:] or "/")):
            self.write(frames.method_frame(0, payload))
        self._until(methods.CONNECTION_OPEN_OK)
        self.call(methods.channel_open())

    def call(self, call: methods.Call) -> bytes:
        """Ask for something and return the arguments of the answer."""
        self.write(frames.method_frame(CHANNEL, call.payload))
        return self._until(*call.answers)

    def write(self, data: bytes) -> None:
        """Write bytes."""
        self._socket.sendall(data)

    def confirms(self) -> Iterator[int]:
        """Read confirms, for ever: after each, how many of all messages are confirmed."""
        confirmed = 0
        apart: set[int] = set()
        for kind, payload in self._frames:
            method = int.from_bytes(payload[:4], "big")
            assert kind == frames.METHOD, f"a frame of kind {kind} among confirms"
            assert method == methods.BASIC_ACK, f"not confirmed: {payload!r}"
            tag, multiple = _CONFIRM.unpack_from(payload, 4)
            if multiple:
                confirmed = max(confirmed, tag)
            else:
                apart.add(tag)
            while confirmed + 1 in apart:
                confirmed += 1
                apart.discard(confirmed)
            yield confirmed

    def deliveries(self) -> Iterator[tuple[int, bytes, bytes, bool]]:
        """Read deliveries, for ever: delivery tag, properties, body, and whether no further frame has been read."""
        tag, properties, body, missing = 0, b"", b"", 0
        for kind, payload in self._frames:
            if kind == frames.METHOD:
                assert int.from_bytes(payload[:4], "big") == methods.BASIC_DELIVER, payload
                at = 5 + payload[4]
                tag, body = int.from_bytes(payload[at : at + 8], "big"), b""
            elif kind == frames.HEADER:
                missing, properties = int.from_bytes(payload[4:12], "big"), payload[12:]
            else:
                body += payload
                if len(body) == missing:
                    yield tag, properties, body, not self._read

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def _until(self, *wanted: int) -> bytes:
        for _, payload in self._frames:
            method = int.from_bytes(payload[:4], "big")
            if method in wanted:
                return payload[4:]
            assert method not in (methods.CONNECTION_CLOSE, methods.CHANNEL_CLOSE), payload
        raise AssertionError("the connection ended")

    def _arriving(self) -> Iterator[tuple[int, bytes]]:
        while True:
            at, end = 0, len(self._read)
            while end - at >= 7:
                kind, _, size = _HEAD.unpack_from(self._read, at)
                after = at + size + 8
                if after > end:
                    break
                payload = self._read[at + 7 : after - 1]
                at = after
                if at == end:
                    self._read = b""
                yield kind, payload
            self._read = self._read[at:] + self._socket.recv(READ_BYTES)


def publish(routing_key: str, body: bytes, headers: Mapping[str, Any], properties: Mapping[str, Any]) -> bytes:
    """Build the frames of a message to the default exchange."""
    encoded = encode_properties(
        {**properties, "headers": headers, "content_type": "application/json", "content_encoding": "utf-8"}
    )
    made = frames.publish_frames(CHANNEL, "", routing_key, encoded, body, mandatory=True, frame_max=FRAME_MAX)
    return b"".join(made)
