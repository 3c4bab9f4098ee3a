"""Calls wait in this process while the broker is away, and are sent in their order when it is back."""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from celeriac.client.publisher import ONCE, UNTIL_DEADLINE, Publisher, RetryPolicy
from celeriac.core.message import Message
from celeriac.core.settings import Settings
from celeriac.exceptions import BrokerUnavailable, OperationalError, PublishBufferFull, Unroutable

logger = logging.getLogger("celeriac")

BATCH_MAX: Final = 1000
"""Messages in one round trip."""
FIRST_PAUSE_S: Final = 0.05
LONGEST_PAUSE_S: Final = 1.0
"""Between two attempts while the broker is away."""
IDS_A_LINE: Final = 100
"""Ids of lost messages in one line of the log."""


class BufferLimits(Struct, frozen=True):
    """How much a buffer takes; see the settings `publish_buffer_...`."""

    most: int
    most_bytes: int
    exit_wait_s: float
    publish_timeout_s: float

    @classmethod
    def of(cls, settings: Settings) -> BufferLimits:
        """Return those of an app."""
        return cls(
            settings.publish_buffer_max,
            settings.publish_buffer_max_bytes,
            settings.publish_buffer_exit_wait_s,
            settings.publish_timeout_s,
        )


class PublishBuffer:
    """A bounded buffer before a publisher: in memory, so that what is in it dies with the process.

    Duties: 1. send at once while the broker is there and nothing waits; 2. else keep the message, or raise `PublishBufferFull`;
    3. in its one daemon thread, send what waits, in order, as soon as the broker takes it; 4. at `close`, and when the process ends,
    give that some time, and log what was not sent.

    Thread-safe.  A forked child has a buffer of its own, empty; what the parent holds is the parent's.
    """

    def __init__(self, publisher: Publisher, limits: BufferLimits) -> None:
        self._publisher = publisher
        self._limits = limits
        self._pid = os.getpid()
        self._waiting: deque[Message] = deque()
        self._bytes = 0
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closing_at: float | None = None
        """Monotonic seconds, until when what waits may still be sent."""

    def __len__(self) -> int:
        """How many messages wait."""
        return len(self._waiting)

    @property
    def bytes(self) -> int:
        """About how many bytes wait."""
        return self._bytes

    @property
    def enabled(self) -> bool:
        """Whether anything is ever kept here."""
        return self._limits.most > 0

    def publish(
        self,
        messages: Sequence[Message],
        timeout_s: float,
        policy: RetryPolicy = UNTIL_DEADLINE,
        since: float | None = None,
    ) -> None:
        """Send the messages within `timeout_s` seconds (from `since`, monotonic, or now), or keep them all to be sent later.

        Returns when the broker or the buffer has them.  Raises `PublishBufferFull` when neither takes them: none of them is kept
        or sent.  A message of which it is not known whether it arrived is kept, too, so it may arrive twice.
        """
        if not self.enabled:
            self._publisher.publish(messages, timeout_s, policy, since)
            return
        if not self._waiting:  # else these have to wait for those before them
            try:
                self._publisher.publish(messages, timeout_s, ONCE, since)
                return
            except BrokerUnavailable as error:
                logger.warning("the broker is away, so calls wait in this process: %s", error)
        self._keep(messages)

    def _keep(self, messages: Sequence[Message]) -> None:
        size = sum(map(_size, messages))
        limits = self._limits
        with self._changed:
            if self._closing_at is not None:
                raise RuntimeError("the app was closed while a call was being sent")
            if len(self._waiting) + len(messages) > limits.most or self._bytes + size > limits.most_bytes:
                raise PublishBufferFull(
                    f"task {messages[0].task}[{messages[0].id}] was not sent: the broker is away, and {len(self._waiting)} calls"
                    f" ({self._bytes} bytes) wait in this process already (publish_buffer_max={limits.most},"
                    f" publish_buffer_max_bytes={limits.most_bytes})"
                )
            self._waiting.extend(messages)
            self._bytes += size
            if self._thread is None:
                atexit.register(self.close)
                self._thread = threading.Thread(target=self._run, name="celeriac-publish-buffer", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def close(self) -> None:
        """Wait until all is sent, `publish_buffer_exit_wait_s` at most, and log what is not. Blocking. Idempotent."""
        if self._pid != os.getpid():
            return  # a fork: neither the messages nor the lock are ours
        with self._changed:
            if self._closing_at is not None:
                return
            self._closing_at = time.monotonic() + self._limits.exit_wait_s
            thread = self._thread
            self._changed.notify_all()
        if thread is None:
            return
        atexit.unregister(self.close)
        thread.join(self._limits.exit_wait_s + self._limits.publish_timeout_s)
        with self._changed:
            lost = list(self._waiting)
        for start in range(0, len(lost), IDS_A_LINE):
            some = lost[start : start + IDS_A_LINE]
            logger.error(
                "%d calls were NOT SENT, because the broker did not come back before this process ended: %s",
                len(lost),
                ", ".join(f"{message.task}[{message.id}]" for message in some),
            )

    # -- the thread ---------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        pause_s = FIRST_PAUSE_S
        while True:
            with self._changed:
                while not self._waiting:
                    if self._closing_at is not None:
                        return
                    self._changed.wait()
                batch = [self._waiting[index] for index in range(min(len(self._waiting), BATCH_MAX))]
            if (timeout_s := self._time_left_s()) <= 0:
                return
            try:
                self._send(batch, timeout_s)
                pause_s = FIRST_PAUSE_S
            except OperationalError as error:
                logger.debug("%d calls wait: %s", len(self._waiting), error)
                with self._changed:
                    self._changed.wait_for(lambda: self._closing_at is not None, pause_s)
                if self._closing_at is not None:
                    time.sleep(FIRST_PAUSE_S)
                pause_s = min(LONGEST_PAUSE_S, pause_s * 1.5)

    def _time_left_s(self) -> float:
        timeout_s = self._limits.publish_timeout_s
        return timeout_s if self._closing_at is None else min(timeout_s, self._closing_at - time.monotonic())

    def _send(self, batch: list[Message], timeout_s: float) -> None:
        """Send a batch and take it out of the buffer; one that can't be sent at all holds up no other."""
        try:
            self._publisher.publish(batch, timeout_s, ONCE)
        except Unroutable as error:
            self._tell_lost([message for message in batch if message.id in error.ids], error)
        except OperationalError:  # also of a broker that is back and does not let us in yet
            raise
        except Exception as error:  # whatever is wrong with a message: its caller has gone on long ago
            if len(batch) > 1:
                for message in batch:
                    self._send([message], timeout_s)
                return
            self._tell_lost(batch, error)
        self._done(len(batch))

    @staticmethod
    def _tell_lost(messages: Sequence[Message], error: Exception) -> None:
        for message in messages:
            logger.error("call %s[%s] had waited for the broker and can't be sent: %s", message.task, message.id, error)

    def _done(self, count: int) -> None:
        with self._changed:
            for _ in range(count):
                self._bytes -= _size(self._waiting.popleft())
            if not self._waiting:
                logger.warning("the broker is back, and every call that waited in this process is sent")


def _size(message: Message) -> int:
    return len(message.body) + len(repr(message.headers))
