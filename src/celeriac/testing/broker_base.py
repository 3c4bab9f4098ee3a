"""What all cases of the broker suite share: flags, fixtures, and a consumer driven as a worker's core drives it."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, ClassVar, Final, Literal, Protocol

import pytest

from celeriac.core.effects import ACK, Lost, Settlement, Verdict
from celeriac.core.message import Delivery, Message, QueueDepth
from celeriac.core.ports import Admin, Backend, Broker, Consumer, Producer
from celeriac.core.workflow import Completed

QUEUE: Final = "suite"
SHORT_LEASE: Final[Mapping[str, Any]] = {"worker_lease_s": 1.0, "worker_heartbeat_s": 0.2}
QUIET_S: Final = 0.5
"""How long nothing must come to be taken for nothing at all."""
BODY: Final = b'[[], {}, {"callbacks": null, "errbacks": null, "chain": null, "chord": null}]'


class MakeBroker(Protocol):
    """Opens a broker on the test's own, at first empty, place; called again, it opens the same place again."""

    def __call__(self, **settings: Any) -> Broker: ...


class MakeStoring(Protocol):
    """Opens a broker and a result backend in the same, at first empty, place; called again, it opens the same place again."""

    def __call__(self, **settings: Any) -> tuple[Broker, Backend]: ...


PutRaw = Callable[[str, bytes], None]
CutConnections = Callable[[], None]


def make_message(queue: str = QUEUE, *, priority: int | None = None, not_before: float | None = None) -> Message:
    """Return a message as any producer would build it."""
    task_id = str(uuid.uuid4())
    properties: dict[str, Any] = {"correlation_id": task_id, "delivery_mode": 2}
    if priority is not None:
        properties["priority"] = priority
    headers = {"lang": "py", "task": "suite.task", "id": task_id, "retries": 0, "eta": None, "root_id": task_id}
    return Message(queue=queue, headers=headers, body=BODY, properties=properties, not_before=not_before)


def make_messages(count: int, queue: str = QUEUE, *, priority: int | None = None) -> list[Message]:
    """Return `count` messages for one queue."""
    return [make_message(queue, priority=priority) for _ in range(count)]


def ids(found: Sequence[Message | Delivery]) -> list[str]:
    """Return the task ids of messages or deliveries, in order; a delivery without a message fails the test."""
    result = []
    for item in found:
        message = item.message if isinstance(item, Delivery) else item
        assert message is not None, f"unreadable delivery: {item}"
        result.append(message.id)
    return result


def settlements(deliveries: Sequence[Delivery], verdict: Verdict = ACK) -> list[Settlement]:
    """Return the same verdict on all deliveries."""
    return [Settlement(delivery.tag, verdict) for delivery in deliveries]


class Worker:
    """A consumer and what a core does around it: heartbeats and housekeeping between claims."""

    def __init__(self, consumer: Consumer, owner: str, queues: Sequence[str], deadline_s: float) -> None:
        self.consumer = consumer
        self.owner = owner
        self.queues = queues
        self.leases_lost = 0
        self._deadline_s = deadline_s
        self._heartbeat_at = 0.0
        self._maintain_at = 0.0

    async def open(self) -> None:
        """Connect, or connect again under the same identity."""
        await self.consumer.open(self.owner, self.queues)

    async def tick(self) -> None:
        """Renew the lease and do the housekeeping where their time has come."""
        if time.monotonic() >= self._heartbeat_at:
            self._heartbeat_at = time.monotonic() + 0.2
            if not await self.consumer.heartbeat():
                self.leases_lost += 1
        if time.monotonic() >= self._maintain_at:
            pause_s = await self.consumer.maintain()
            assert pause_s >= 0, "maintain() returns the seconds until it wants to be called again"
            self._maintain_at = time.monotonic() + pause_s

    async def claim_some(self, limit: int, wait_s: float = 0.05) -> list[Delivery]:
        """Claim what there is, and keep the house meanwhile."""
        await self.tick()
        claimed = await self.consumer.claim(limit, wait_s)
        assert len(claimed) <= limit, f"asked for {limit} messages, got {len(claimed)}"
        return claimed

    async def claim(self, count: int) -> list[Delivery]:
        """Claim until `count` messages are there."""
        claimed: list[Delivery] = []
        until = time.monotonic() + self._deadline_s
        while len(claimed) < count:
            assert time.monotonic() < until, f"only {len(claimed)} of {count} messages came within {self._deadline_s} s"
            claimed += await self.claim_some(count - len(claimed))
        return claimed

    async def settle(self, deliveries: Sequence[Delivery], verdict: Verdict = ACK) -> list[Lost | Completed]:
        """Settle all with one verdict."""
        return await self.consumer.settle(settlements(deliveries, verdict))

    async def nothing_comes(self, for_s: float = QUIET_S) -> None:
        """Fail if any message can be claimed within `for_s` seconds."""
        until = time.monotonic() + for_s
        while time.monotonic() < until:
            claimed = await self.claim_some(10)
            assert not claimed, f"there should be nothing to claim, but there came {claimed}"


class BrokerCases:
    """Flags, fixtures and helpers; see `celeriac.testing.broker_suite` for how to use them."""

    urgent_first: ClassVar[Literal["low", "high"] | None] = "low"
    """Which priority numbers come first: Redis and SQLite "low", RabbitMQ "high"; None: the broker has no priorities."""
    priority_settings: ClassVar[Mapping[str, Any]] = {}
    """Settings that the broker needs to know priorities."""
    takes_over: ClassVar[Literal["lease", "connection"]] = "lease"
    """How a worker that is gone is noticed: its lease runs out, or its connection is closed."""
    counts_losses: ClassVar[bool] = True
    """`Delivery.losses` counts the workers that a message went down with."""
    parks_after_losses: ClassVar[bool] = True
    """The broker itself parks a message one loss after `task_loss_limit`, at which the worker that gets it tells everyone of its end."""
    requeued_to_head: ClassVar[bool] = True
    """A message given back comes before those that wait; where False, it only has to come again."""
    delayed_to_head: ClassVar[bool] = True
    """A message that has become due comes before those that wait; where False, it only has to come."""
    depths_tell: ClassVar[frozenset[str]] = frozenset({"ready", "delayed", "claimed", "dead"})
    """The fields of `QueueDepth` that the broker can fill; it leaves the others at None or 0."""
    purges_delayed: ClassVar[bool] = True
    """`Admin.purge` deletes delayed messages too."""
    delays_routed: ClassVar[bool] = True
    """A delayed message that an exchange routes waits in the delay of each queue; where False, it goes there at once."""
    early_s: ClassVar[float] = 0.002
    """By how much a delayed message may be early, for a broker whose clock is coarser than ours."""
    deadline_s: ClassVar[float] = 30.0
    """Seconds to wait for anything before a test fails."""

    @pytest.fixture
    def make_broker(self) -> MakeBroker:
        """The one fixture that must be given: a function that takes settings and opens the broker."""
        raise NotImplementedError(f"{type(self).__name__} must give a fixture `make_broker`")

    @pytest.fixture
    def broker(self, make_broker: MakeBroker) -> Broker:
        """The broker under test with default settings."""
        return make_broker()

    @pytest.fixture
    def make_storing(self) -> MakeStoring | None:
        """Optional, where `settle` stores results: a function that opens the broker so, and the backend that they are in."""
        return None

    @pytest.fixture
    def put_raw(self) -> PutRaw | None:
        """Optional: a function that puts bytes into a queue which are no message."""
        return None

    @pytest.fixture
    def cut_connections(self) -> CutConnections | None:
        """Optional: a function that cuts all connections to the broker, as a broken network would."""
        return None

    # -- helpers ---------------------------------------------------------------------------------------------------

    @contextmanager
    def producing(self, broker: Broker) -> Iterator[Producer]:
        """Open a producer for the time of a `with` block."""
        producer = broker.producer()
        try:
            yield producer
        finally:
            producer.close()

    @contextmanager
    def administering(self, broker: Broker) -> Iterator[Admin]:
        """Open an admin for the time of a `with` block."""
        admin = broker.admin()
        try:
            yield admin
        finally:
            admin.close()

    @asynccontextmanager
    async def working(self, broker: Broker, *queues: str) -> AsyncIterator[Worker]:
        """Open a consumer for the time of an `async with` block, and release what it holds at the end."""
        worker = Worker(broker.consumer(), f"suite@{uuid.uuid4().hex}", queues or (QUEUE,), self.deadline_s)
        await worker.open()
        try:
            yield worker
        finally:
            try:
                await worker.consumer.release()
            finally:
                await worker.consumer.close()

    def publish(self, broker: Broker, *messages: Message) -> None:
        """Publish messages by a producer of their own."""
        with self.producing(broker) as producer:
            producer.publish(messages, self.deadline_s)

    async def vanish(self, worker: Worker) -> None:
        """Let a worker be gone as far as the broker can see."""
        if self.takes_over == "connection":
            await worker.consumer.close()
        # Where a lease decides, it is enough that nobody renews it any more.

    def depth(self, admin: Admin, queue: str = QUEUE) -> QueueDepth:
        """Return the depths of one queue."""
        (depth,) = admin.depths([queue])
        assert depth.queue == queue
        return depth

    def counts(self, depth: QueueDepth) -> dict[str, int | None]:
        """Return those counts that the broker can tell."""
        return {name: getattr(depth, name) for name in sorted(self.depths_tell)}

    def wait_for_depth(self, admin: Admin, queue: str = QUEUE, **expected: int) -> None:
        """Wait until the broker's counts are as expected, as far as it counts them."""
        wanted = {name: number for name, number in expected.items() if name in self.depths_tell}
        found: dict[str, int | None] = {}

        def agrees() -> bool:
            counts = self.counts(self.depth(admin, queue))
            found.update({name: counts[name] for name in wanted})
            return found == wanted

        self.wait_until(agrees, lambda: f"queue {queue!r}: expected {wanted}, found {found}")

    def wait_until(self, condition: Callable[[], bool], complaint: Callable[[], str]) -> None:
        """Poll until the condition holds; fail with the complaint after the deadline."""
        until = time.monotonic() + self.deadline_s
        while not condition():
            assert time.monotonic() < until, complaint()
            time.sleep(0.02)

    async def in_thread(self, call: Callable[..., None], *args: Any) -> None:
        """Run a blocking call beside the loop."""
        await asyncio.to_thread(call, *args)
