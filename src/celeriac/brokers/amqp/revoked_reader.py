"""Reads the stream of revocations: all of it at the start, then what is added."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from typing import Any, Final

from celeriac.brokers.amqp import revoked
from celeriac.core.message import Revocation
from celeriac.transports.amqp.aio import REVOKED_CHANNEL, AsyncConnection
from celeriac.transports.amqp.errors import ChannelError
from celeriac.transports.amqp.protocol import frames, methods
from celeriac.transports.amqp.protocol.errors import CodecError
from celeriac.transports.amqp.protocol.events import Delivered
from celeriac.transports.amqp.protocol.properties import decode_properties
from celeriac.transports.amqp.topology import REVOKED_STREAM, PartlyRefused, Refused, Topology

_PREFETCH: Final = 500
_START_S: Final = 5.0
_CATCH_UP_S: Final = 3.0
_log = logging.getLogger(__name__)


class RevokedReader:
    """Collects the revocations in force.

    1. Reads the stream from its first entry, after a reconnection from where it was.
    2. Returns from `open` when all that stood in the stream is read, so that nothing revoked can be claimed before it is known:
       it writes a mark of its own and waits for it to come by.
    3. Is not what a worker fails for: while the stream can't be read, as for some time after a crash of its node, the worker works,
       and tries `open` again now and then.
    4. Hands out each revocation once.
    """

    def __init__(self) -> None:
        self._next_offset: int | None = None
        self._mark = ""
        self._caught_up = asyncio.Event()
        self._new: list[Revocation] = []
        self._known: dict[tuple[str, bool, str, str], float] = {}
        self._connection: AsyncConnection | None = None
        self._said = False

    @property
    def is_open(self) -> bool:
        """Whether the stream is being read."""
        return self._connection is not None

    async def open(self, connection: AsyncConnection, topology: Topology) -> None:
        """Start to read over a new connection; when the stream can't be read, say so to the log."""
        self._connection = None
        self._mark = uuid.uuid4().hex
        self._caught_up.clear()
        try:
            async with asyncio.timeout(_START_S):
                await self._start(connection, topology)
        except (ChannelError, Refused, PartlyRefused, TimeoutError) as error:
            # In a cluster also: the stream has no replica on this node, or lacks its majority.
            self._connection = None
            if not self._said:
                _log.warning("revocations can't be read now, will try again: %s", str(error) or "no answer in time")
                self._said = True
            return
        self._said = False
        try:
            async with asyncio.timeout(_CATCH_UP_S):
                await self._caught_up.wait()
        except TimeoutError:
            _log.warning("the stream of revocations is slow: some may come late")

    async def _start(self, connection: AsyncConnection, topology: Topology) -> None:
        await connection.run(topology.ensure_revoked_stream())
        self._connection = connection
        await connection.run(topology.publish([revoked.to_publish(revoked.Entry(mark=self._mark))]))
        start: Any = "first" if self._next_offset is None else self._next_offset
        async with connection.lock(REVOKED_CHANNEL):
            consumer = f"revoked-{self._mark}"  # another each time: one that is not answered in time may yet be there
            consume = methods.basic_consume(REVOKED_STREAM, consumer, arguments={"x-stream-offset": start})
            await connection.call(REVOKED_CHANNEL, [methods.basic_qos(_PREFETCH), consume])

    def on_delivered(self, event: Delivered) -> None:
        """Take an entry of the stream."""
        if self._connection is not None:
            self._connection.send_soon(frames.ack_frame(REVOKED_CHANNEL, event.delivery_tag, multiple=False))
        try:
            offset = decode_properties(event.properties).get("headers", {}).get("x-stream-offset")
        except CodecError:
            offset = None
        if isinstance(offset, int):
            self._next_offset = offset + 1
        entry = revoked.from_body(event.body)
        if entry.mark and entry.mark == self._mark:
            self._caught_up.set()
        revocation = entry.revocation
        if revocation is None or revocation.expires_at <= time.time():
            return
        key = (revocation.id, revocation.terminate, revocation.signal, revocation.signature)
        if key not in self._known:
            self._new.append(revocation)
        self._known[key] = max(revocation.expires_at, self._known.get(key, 0.0))

    def take(self) -> list[Revocation]:
        """Return the revocations in force that were not returned before."""
        now = time.time()
        found, self._new = [item for item in self._new if item.expires_at > now], []
        if found:
            self._known = {key: expires_at for key, expires_at in self._known.items() if expires_at > now}
        return found
