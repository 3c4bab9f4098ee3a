"""The transactional outbox: messages written as rows of the caller's own transaction, and the relay that publishes them.

What a database has to do for it is `OutboxStore`; Django's and SQLAlchemy's stores implement it, and anything else can.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Collection
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec
from msgspec import Struct, field

from celeriac.client.announcing import announce_published
from celeriac.client.signing import sign_messages
from celeriac.client.transactional_calls import is_unique, send_unique, without_passed_time
from celeriac.client.transactions import OutboxRow, OutboxState
from celeriac.core.message import Message
from celeriac.exceptions import DecodeError, EncodeError, OperationalError

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac

__all__ = [
    "Claim",
    "Outbox",
    "OutboxRow",
    "OutboxState",
    "OutboxStore",
    "Relay",
    "decode_message",
    "encode_message",
]

logger = logging.getLogger("celeriac.outbox")

STOP_GRACE_S: Final = 1.0
"""How long a relay that was told to stop may take beyond the publish that it is in."""
OLD_AGE_S: Final = 60.0
"""A message that has waited longer is worth a line in the log, at most one in the same time."""


class Claim(Struct):
    """Rows that one relay works on: it fills in what became of them, and the store makes that so when the block ends."""

    rows: list[OutboxRow]
    """Oldest first."""
    published: list[int] = field(default_factory=list)
    """Ids of rows to delete."""
    parked: dict[int, str] = field(default_factory=dict)
    """Ids of rows to set aside, each with its problem."""


class OutboxStore(Protocol):
    """One table of waiting messages. Thread-safe, blocking; raises whatever its database raises."""

    def add(self, row: OutboxRow, using: Any) -> None:
        """Insert a row in the caller's own transaction, which `using` names (None: the default); never commits."""

    def claim(self, limit: int) -> AbstractContextManager[Claim]:
        """Hold up to `limit` waiting rows for the length of a `with` block, so that no other relay gets them meanwhile.

        Oldest first, without those that have a problem; rows that another relay holds are passed over.  At the end of the
        block `Claim.published` is deleted and `Claim.parked` set aside, in one transaction; when the block raises, nothing is
        changed.  When the process dies inside it, the rows are free again by themselves.
        """

    def state(self) -> OutboxState:
        """Count what waits."""

    def peek(self, limit: int) -> list[OutboxRow]:
        """Return the oldest rows, with or without problem."""

    def retry(self, task_ids: Collection[str]) -> int:
        """Take the problem from the rows of these tasks, from all rows if none is named; return how many."""

    def purge(self, task_ids: Collection[str], *, everything: bool = False) -> int:
        """Delete the rows of these tasks, or all; return how many."""

    def close(self) -> None:
        """Let go of the calling thread's connections, after an error or for good; the next use opens new ones. Idempotent."""


class Outbox:
    """An app's outbox on one store; give it to the app as `app.outbox`, and its workers relay it."""

    def __init__(self, app: Celeriac, store: OutboxStore) -> None:
        self._app = app
        self.store = store

    def add(self, message: Message, using: Any = None) -> None:
        """Write a finished message into the caller's transaction. Raises `EncodeError`."""
        row = OutboxRow(message.id, message.task, message.queue, encode_message(message), self._app.time_source.time())
        self.store.add(row, using)

    def relay(self) -> Relay:
        """Return a relay; nothing is started yet."""
        return Relay(self._app, self.store)

    def state(self) -> OutboxState:
        """Count what waits."""
        return self.store.state()

    def peek(self, limit: int) -> list[OutboxRow]:
        """Return the oldest rows, those set aside among them."""
        return self.store.peek(limit)

    def retry(self, task_ids: Collection[str] = ()) -> int:
        """Let messages that were set aside be published after all (none named: all); returns how many."""
        return self.store.retry(task_ids)

    def purge(self, task_ids: Collection[str] = (), *, everything: bool = False) -> int:
        """Delete messages, or everything, without publishing them; returns how many."""
        return self.store.purge(task_ids, everything=everything)


class Relay:
    """Publishes what stands in an outbox, at least once each, oldest first.

    Duties, of its one daemon thread or of whoever calls `run`: 1. claim a batch of committed rows; 2. publish it, with the
    broker's confirmation; 3. have the rows deleted; 4. while broker or database is away, try again with growing pauses and say
    how much waits; 5. set aside a row that can never be published, so that it stops nobody.

    A crash between 2 and 3 publishes a batch again, under the same ids.
    """

    def __init__(self, app: Celeriac, store: OutboxStore) -> None:
        self._app = app
        self._store = store
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._said_at = -OLD_AGE_S

    def start(self) -> None:
        """Start relaying in a thread of its own; returns at once."""
        self._stopping.clear()
        self._thread = threading.Thread(target=self.run, name="celeriac-outbox", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ask it to stop and wait until it has, `publish_timeout_s` at most. Idempotent."""
        self._stopping.set()
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join(self._app.settings.publish_timeout_s + STOP_GRACE_S)

    def run(self) -> None:
        """Relay in the calling thread until `stop` is called elsewhere."""
        failures = 0
        try:
            while not self._stopping.is_set():
                settings = self._app.settings
                pause_s = settings.outbox_poll_s
                try:
                    # A full batch says that more is waiting.
                    if self.relay_batch() >= settings.outbox_batch_max:
                        pause_s = 0.0
                    failures = 0
                except Exception as error:  # whatever the database or the broker says: the rows stay, and so do we
                    pause_s = min(settings.outbox_backoff_max_s, pause_s * 2.0**failures) * random.uniform(0.5, 1.0)
                    failures = min(failures + 1, 32)
                    self._tell_trouble(error, pause_s)
                self._stopping.wait(pause_s)
        finally:
            self._store.close()

    def relay_all(self) -> int:
        """Publish what waits now and return how many messages that were; raises what keeps it from that."""
        total = 0
        while (count := self.relay_batch()) > 0:
            total += count
        return total

    def relay_batch(self) -> int:
        """Publish one batch; return how many rows were dealt with. Raises `OperationalError` for broker or coordination, and what the store raises."""
        with self._store.claim(self._app.settings.outbox_batch_max) as claim:
            # Told after the block: what was published before the broker went away is deleted all the same.
            trouble = self._publish(claim)
        if trouble is not None:
            raise trouble
        if claim.rows and self._app.time_source.time() - claim.rows[0].created_at > OLD_AGE_S:
            self._tell_age()
        return len(claim.published) + len(claim.parked)

    def _publish(self, claim: Claim) -> OperationalError | None:
        messages: dict[int, Message] = {}
        for row in claim.rows:
            try:
                messages[row.id] = without_passed_time(decode_message(row.message), self._app.time_source.time())
            except DecodeError as error:
                self._park(claim, row.id, error)
        if not messages:
            return None
        if any(is_unique(message) for message in messages.values()):
            return self._publish_singly(claim, messages)
        try:
            self._send(list(messages.values()))
        except OperationalError as error:
            return error
        except Exception as error:  # one of them can't be sent: find it, so that it does not hold up the others
            logger.warning("outbox: a batch of %d could not be published, trying one by one: %s", len(messages), error)
            return self._publish_singly(claim, messages)
        claim.published.extend(messages)
        return None

    def _publish_singly(self, claim: Claim, messages: dict[int, Message]) -> OperationalError | None:
        for row_id, message in messages.items():
            try:
                if is_unique(message):
                    send_unique(self._app, message, {})
                else:
                    self._send([message])
            except OperationalError as error:
                return error
            except Exception as error:
                self._park(claim, row_id, error)
            else:
                claim.published.append(row_id)
        return None

    def _send(self, messages: list[Message]) -> None:
        sign_messages(self._app, messages)  # only now: a signature has its time
        self._app._connections.publisher.publish(messages, self._app.settings.publish_timeout_s)
        for message in messages:
            announce_published(self._app, message)

    @staticmethod
    def _park(claim: Claim, row_id: int, error: Exception) -> None:
        claim.parked[row_id] = f"{type(error).__name__}: {error}"
        logger.error("outbox: row %d can't be published and is set aside: %s", row_id, error)

    def _tell_trouble(self, error: Exception, pause_s: float) -> None:
        logger.warning("outbox: %s; trying again in %.1f s: %s", self._describe(), pause_s, error)
        self._store.close()

    def _tell_age(self) -> None:
        now = time.monotonic()
        if now - self._said_at >= OLD_AGE_S:
            self._said_at = now
            logger.warning("outbox: the relay is behind: %s", self._describe())

    def _describe(self) -> str:
        try:
            state = self._store.state()
        except Exception as error:  # the database itself is away: then nobody knows
            return f"the table can't be read ({type(error).__name__})"
        age_s = self._app.time_source.time() - state.oldest_at if state.oldest_at is not None else 0.0
        parked = f", {state.parked} are set aside" if state.parked else ""
        return f"{state.waiting} messages wait, the oldest for {age_s:.0f} s{parked}"


# -- the message in its row -------------------------------------------------------------------------------------------


def encode_message(message: Message) -> bytes:
    """Write a finished message for its row: headers, body, properties and address. Raises `EncodeError`."""
    try:
        return _encoder.encode(message)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise EncodeError(
            f"the message of task {message.task!r} can't be kept in an outbox, a header or property is no plain data: {error}"
        ) from error


def decode_message(data: bytes) -> Message:
    """Read what `encode_message` wrote. Raises `DecodeError`."""
    try:
        message = _decoder.decode(data)
        if not (isinstance(message.headers.get("id"), str) and isinstance(message.headers.get("task"), str)):
            raise DecodeError("the row's message names no task")
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise DecodeError(f"the row holds no message: {error}") from None
    return message


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(Message)
