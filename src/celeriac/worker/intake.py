"""Claiming: what comes from the broker is looked at, headers only, and handed on, concluded, delayed or parked."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from celeriac.client import signals
from celeriac.client.app import Celeriac
from celeriac.client.context import Request
from celeriac.core.effects import ACK
from celeriac.core.headers import SLOT, read_headers, to_timestamp
from celeriac.core.message import Delivery, Message
from celeriac.core.outcome import Crashed, OldForm, Revoked, Unopened
from celeriac.core.policy import Policy
from celeriac.core.ports import Consumer
from celeriac.core.unique import Answer
from celeriac.exceptions import BadMessage, CeleriacError
from celeriac.wire import task_v1
from celeriac.wire.task_v2 import NOTHING_FOLLOWS
from celeriac.worker.dispatch import Dispatch
from celeriac.worker.entry import Entry, may_be_in_chord, run_key, without_content
from celeriac.worker.events.tasks import TaskEvents
from celeriac.worker.gate import Gate
from celeriac.worker.link import Link
from celeriac.worker.log import describe_arrival
from celeriac.worker.replays import ReplayGuard
from celeriac.worker.revocations import Revocations
from celeriac.worker.settler import Settler
from celeriac.worker.time_limits import TimeLimits, limited
from celeriac.worker.unique import UniqueKeeper

logger = logging.getLogger("celeriac.worker")

WAIT_S: Final = 1.0
"""How long one claim waits for a message."""
CLOCKS_APART_S: Final = 0.5
"""A message that comes back from its delay sooner than this came by a clock that is ahead of ours."""
DELAYED_MAX: Final = 1000
"""How many of those are remembered."""
LOOK_AGAIN_S: Final = 0.05
"""How often the capacity is looked at while there is none and nothing happens."""


class Intake:
    """Duties: 1. claim as much as dispatch wants; 2. park what is no task message; 3. delay what came too early; 4. have
    concluded what must not run (expired, revoked, lost too often); 5. recognise what is running here already.
    """

    def __init__(
        self,
        app: Celeriac,
        consumer: Consumer,
        link: Link,
        dispatch: Dispatch,
        settler: Settler,
        revocations: Revocations,
        entries: dict[tuple[str, int], Entry],
        kinds: list[str],
        idle: Callable[[], None],
        hostname: str,
        unique: UniqueKeeper,
        gate: Gate,
        events: TaskEvents,
        time_limits: TimeLimits,
    ) -> None:
        """`entries`: everything this worker has claimed; `kinds`: its kinds of executor, the default one first."""
        self._hostname = hostname
        self._unique = unique
        self._gate = gate
        self._events = events
        self._time_limits = time_limits
        self._app = app
        self._clock = app.time_source
        self._settings = app.settings
        self._max_bytes, self._max_headers = app.settings.task_message_max_bytes, app.settings.task_message_max_headers
        self._consumer = consumer
        self._link = link
        self._dispatch = dispatch
        self._settler = settler
        self._revocations = revocations
        self._entries = entries
        self._kinds = kinds
        self._idle = idle
        self.replays: ReplayGuard | None = None
        """Takes out copies of completed messages, where messages are signed."""
        self._now = self._held_since = 0.0
        """When the batch was claimed that is taken in: Unix and monotonic seconds."""
        self._delayed: dict[str, float] = {}
        """When messages were lately sent into the delay, in monotonic seconds."""
        self._default_policy = Policy(
            crash_limit=self._settings.task_crash_limit, loss_limit=self._settings.task_loss_limit
        )

    async def run(self) -> None:
        """Claim until cancelled; a cancelled claim loses nothing."""
        while True:
            await self._settler.room.wait()
            await self._gate.room.wait()
            await self._unique.room.wait()
            limit = self._dispatch.capacity()
            if limit <= 0:
                self._dispatch.wanted.clear()
                try:
                    # Not wait_for: up to Python 3.11 that may swallow a cancellation.
                    async with asyncio.timeout(LOOK_AGAIN_S):
                        await self._dispatch.wanted.wait()
                except TimeoutError:
                    continue
                limit = self._dispatch.capacity()
                if limit <= 0:
                    continue
            deliveries = await self._link.call(lambda wanted=limit: self._consumer.claim(wanted, WAIT_S))  # type: ignore[misc]
            if deliveries:
                if self.replays is not None:
                    deliveries = list(await self.replays.sift(deliveries, self._drop_copy))
                self._admit_all(deliveries)
                self._dispatch.pump()
            else:
                self._idle()

    def _drop_copy(self, tag: Any) -> None:
        self._settler.settle_tag(tag, ACK)

    def _admit_all(self, deliveries: Sequence[Delivery]) -> None:
        self._now, self._held_since = self._clock.time(), self._clock.monotonic()
        for delivery in deliveries:
            try:
                self._take(delivery)
            except (CeleriacError, msgspec.ValidationError) as error:
                self._park(delivery, f"{type(error).__name__}: {error}")
            except Exception as error:  # a message, whatever it holds, must never stop a worker
                logger.exception("a message could not be taken in")
                self._park(delivery, f"{type(error).__name__}: {error}")

    def _park(self, delivery: Delivery, reason: str) -> None:
        message = delivery.message
        if message is not None and self._app.backend.counts_chords and may_be_in_chord(message):
            logger.error("a message is parked: %s", reason)
            self._unique.parked(message)
            entry = self._entry(delivery, without_content(message), 0, None)
            entry.ending = Unopened(reason)
            self._hand_on(entry)
            return
        self._settler.park(delivery.tag, reason)
        self._unique.parked(delivery.message)

    def _take(self, delivery: Delivery) -> None:
        message = delivery.message
        if message is None:
            self._settler.park(delivery.tag, delivery.problem or "no task message")
            return
        if len(message.body) > self._max_bytes:
            self._park(
                delivery,
                f"MessageTooLarge: the body has {len(message.body)} bytes, task_message_max_bytes is {self._max_bytes}",
            )
            return
        if len(message.headers) > self._max_headers:
            raise BadMessage(
                f"the message has {len(message.headers)} headers, task_message_max_headers is {self._max_headers}"
            )
        if task_v1.is_v1(message):
            self._renew(delivery, message)
            return
        headers = read_headers(message.headers)
        now = self._now
        revoked = self._revocations.find(message.headers, now)
        eta = to_timestamp(headers.eta, "eta")
        if eta is not None and eta > now and revoked is None and self._delay(delivery, message, eta):
            return
        entry = self._entry(delivery, message, headers.celeriac_crashes, headers.timelimit)
        losses = max(delivery.losses, headers.celeriac_losses)
        expires = to_timestamp(headers.expires, "expires")
        if losses >= self._default_policy.loss_limit:
            entry.ending = Crashed(f"it went down with its worker {losses} times", entry.crashes)
        elif expires is not None and expires <= now:
            entry.ending = Revoked("expired")
        elif revoked is not None:
            entry.ending = Revoked("revoked")
        if headers.celeriac_unique is not None:
            self._unique.claim(entry, headers.celeriac_unique)
            if entry.ending is None:
                self._unique.ask(entry, self._judge)
                return
        self._hand_on(entry)

    def _renew(self, delivery: Delivery, message: Message) -> None:
        """Have an executor open a message of protocol 1, whose headers stand in its body, and send it anew as protocol 2."""
        entry = self._entry(delivery, task_v1.unopened(message), 0, None)
        entry.ending = OldForm()
        self._hand_on(entry)

    def _judge(self, entry: Entry, answer: Answer) -> None:
        """Go on with a unique task as its key says: to a slot, to its end, or back into the delay until another has ended."""
        message = entry.message
        if self._revocations.find(message.headers, self._clock.time()) is not None:
            entry.ending = Revoked("revoked")
        elif answer.verdict == "gone":
            entry.ending = Revoked(f"its unique key is that of {answer.id}")
        elif answer.verdict == "wait":
            brokers_time = self._clock.time() + self._consumer.ahead_s
            message.not_before = brokers_time + self._settings.task_unique_recheck_s
            self._unique.forget(entry.key)
            self._settler.settle_tag(entry.delivery.tag, ACK, [message])
            return
        self._hand_on(entry)
        self._dispatch.pump()

    def _delay(self, delivery: Delivery, message: Message, eta: float) -> bool:
        """Put a message that its sender did not leave to the broker's own delay there, so that it costs no worker anything.

        One that comes back at once, or that the broker has kept until its time, is due by the broker's clock, which is ahead of ours:
        False, it may run.
        """
        if delivery.was_kept_until(eta):
            return False
        now = time.monotonic()
        if now - self._delayed.pop(message.id, -math.inf) < CLOCKS_APART_S:
            return False
        self._delayed[message.id] = now
        if len(self._delayed) > DELAYED_MAX:
            del self._delayed[next(iter(self._delayed))]
        message.not_before = eta
        self._settler.settle_tag(delivery.tag, ACK, [message])
        return True

    def _entry(
        self,
        delivery: Delivery,
        message: Message,
        crashes: int,
        timelimit: tuple[float | None, float | None] | None,
    ) -> Entry:
        task = self._app.tasks.get(message.task)
        limits = self._time_limits.of(message.task)
        policy = limited(task.policy if task is not None else self._default_policy, limits)
        if timelimit is not None:
            policy = policy.with_limits(hard_s=timelimit[0], soft_s=timelimit[1])
        kind = task.executor if task is not None and task.executor in self._kinds else self._kinds[0]
        return Entry(
            delivery=delivery,
            message=message,
            key=run_key(message),
            kind=kind,
            policy=policy,
            crashes=crashes,
            held_since=self._held_since,
            limits=limits,
        )

    def _hand_on(self, entry: Entry) -> None:
        key = entry.key
        known = self._entries.get(key)
        if known is not None and known.acknowledged:
            self._settler.settle_tag(entry.delivery.tag, ACK)  # its early acknowledgement got lost with the connection
            return
        if known is not None:
            # The connection was lost and the broker delivered it again while it still runs here: settle this one with it.
            known.older_tags = [*known.older_tags, known.delivery.tag]
            known.delivery = entry.delivery
            return
        if self._settler.settle_again(key, entry.delivery):
            return
        self._entries[key] = entry
        # With a slot it was here before; of an old form it will be here again, and only then says who it is.
        is_new = SLOT not in entry.message.headers and not isinstance(entry.ending, OldForm)
        if is_new:
            describe_arrival(entry.message)
            if self._events.on:
                self._events.received(entry.message)
        if is_new and signals.task_received.receivers:
            request = Request.from_message(
                entry.message,
                (),
                {},
                NOTHING_FOLLOWS,
                hostname=self._hostname,
                redelivered=False,
                priority_of=self._app.amqp.from_wire,
            )
            signals.task_received.send(self, request=request)
        if not self._gate.takes(entry):
            self._dispatch.add(entry)
