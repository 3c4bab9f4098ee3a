"""Cases of the broker suite: exchanges, broadcasts, and how much of one queue is claimed at once."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import pytest
from msgspec.structs import replace

from celeriac.core.effects import ACK, Dead, Settlement
from celeriac.core.message import Delivery, Message
from celeriac.core.ports import Broker
from celeriac.core.queues import Broadcast, Exchange, Queue, binding, public_queue
from celeriac.exceptions import Unroutable
from celeriac.testing.broker_base import BrokerCases, MakeBroker, Worker, ids, make_message, make_messages

MEDIA: Final = Exchange("suite-media", "topic")
SHOP: Final = Exchange("suite-shop", "direct")
NEWS: Final = Exchange("suite-news", "fanout")
QUEUES: Final = (
    Queue("suite-video", MEDIA, "video.#"),
    Queue("suite-hd", MEDIA, "*.hd"),
    Queue("suite-orders", [binding(SHOP, "order"), binding(SHOP, "refund")]),
    Queue("suite-audit", NEWS),
    Queue("suite-archive", NEWS),
)


def by_exchange(exchange: str, routing_key: str = "", **options: Any) -> Message:
    """Return a message that an exchange is to route."""
    return replace(make_message("", **options), exchange=exchange, routing_key=routing_key)


class RoutingCases(BrokerCases):
    """From an exchange to claims."""

    @asynccontextmanager
    async def limited(self, broker: Broker, limits: Mapping[str, int], *queues: str) -> AsyncIterator[Worker]:
        """Open a consumer that claims no more than so much of some queues."""
        async with self.working(broker, *queues) as worker:
            await worker.consumer.open(worker.owner, worker.queues, limits)
            yield worker

    async def arrived(self, worker: Worker, expected: Sequence[tuple[str, Message]]) -> list[Delivery]:
        """Claim what is expected, each message in its queue, and see that nothing else comes."""
        claimed = await worker.claim(len(expected))
        found = sorted(zip([item.queue for item in claimed], ids(claimed), strict=True))
        assert found == sorted((queue, message.id) for queue, message in expected)
        await worker.nothing_comes(0.2)
        return claimed

    def test_a_topic_exchange_reaches_every_queue_that_matches(self, make_broker: MakeBroker) -> None:
        broker = make_broker(task_queues=QUEUES)
        both, one, other = (by_exchange(MEDIA.name, key) for key in ("video.hd", "video.a.b", "audio.hd"))
        bare = by_exchange(MEDIA.name, "video")

        async def scenario() -> None:
            async with self.working(broker, "suite-video", "suite-hd") as worker:
                await self.in_thread(self.publish, broker, both, one, other, bare)
                hd, video = "suite-hd", "suite-video"
                expected = [(hd, both), (video, both), (video, one), (hd, other), (video, bare)]
                claimed = await self.arrived(worker, expected)
                routed = next(item.message for item in claimed if ids([item]) == [one.id])
                assert routed is not None
                assert (routed.exchange, routed.routing_key) == (MEDIA.name, "video.a.b")
                assert not await worker.settle(claimed)

        asyncio.run(scenario())

    def test_direct_and_fanout_exchanges(self, make_broker: MakeBroker) -> None:
        broker = make_broker(task_queues=QUEUES)
        order, refund = by_exchange(SHOP.name, "order"), by_exchange(SHOP.name, "refund")
        news = by_exchange(NEWS.name, "whatever")
        self.publish(broker, order, refund)  # nobody has declared anything yet: the program's own queues are made

        async def scenario() -> None:
            async with self.working(broker, "suite-orders", "suite-audit", "suite-archive") as worker:
                await worker.consumer.publish([news])
                orders = "suite-orders"
                expected = [(orders, order), (orders, refund), ("suite-audit", news), ("suite-archive", news)]
                assert not await worker.settle(await self.arrived(worker, expected))

        asyncio.run(scenario())

    def test_what_no_queue_is_bound_for_is_an_error(self, make_broker: MakeBroker) -> None:
        broker = make_broker(task_queues=QUEUES)
        fine, plain = by_exchange(MEDIA.name, "video.x"), make_message("suite-orders")
        lost, unknown = by_exchange(MEDIA.name, "text"), by_exchange("suite-no-such-exchange", "x")
        with pytest.raises(Unroutable, match="no queue is bound to exchange") as caught:
            self.publish(broker, fine, lost, plain)
        assert caught.value.ids == {lost.id}
        with pytest.raises(Unroutable):
            self.publish(broker, unknown)

        async def scenario() -> None:
            async with self.working(broker, "suite-video", "suite-orders") as worker:
                expected = [("suite-video", fine), ("suite-orders", plain)]
                await self.arrived(worker, expected)
                with pytest.raises(Unroutable):
                    await worker.consumer.publish([lost])

        asyncio.run(scenario())

    def test_a_program_that_declares_nothing_uses_what_a_worker_declared(self, make_broker: MakeBroker) -> None:
        broker = make_broker(task_queues=QUEUES)
        if not broker.durable:
            pytest.skip("this broker lives in its object")
        stranger = make_broker()
        message = by_exchange(MEDIA.name, "video.hd")

        async def scenario() -> None:
            async with self.working(broker, "suite-video", "suite-hd") as worker:
                await self.in_thread(self.publish, stranger, message)
                await self.arrived(worker, [("suite-video", message), ("suite-hd", message)])

        asyncio.run(scenario())

    def test_with_a_queue_it_goes_there_and_nowhere_else(self, make_broker: MakeBroker) -> None:
        """So a retry stays in the queue where its message was."""
        broker = make_broker(task_queues=QUEUES)
        again = replace(make_message("suite-hd"), exchange=MEDIA.name, routing_key="video.hd")

        async def scenario() -> None:
            async with self.working(broker, "suite-video", "suite-hd") as worker:
                await worker.consumer.publish([again])
                await self.arrived(worker, [("suite-hd", again)])

        asyncio.run(scenario())

    def test_a_routed_message_waits_in_each_queue(self, make_broker: MakeBroker) -> None:
        if not self.delays_routed:
            pytest.skip("in this broker a worker brings it into the delay")
        broker = make_broker(task_queues=QUEUES)
        due_at = time.time() + 0.6
        delayed = by_exchange(MEDIA.name, "video.hd", not_before=due_at)

        async def scenario() -> None:
            async with self.working(broker, "suite-video", "suite-hd") as worker:
                await self.in_thread(self.publish, broker, delayed)
                claimed = await worker.claim(2)
                assert time.time() >= due_at - self.early_s
                assert sorted(item.queue for item in claimed) == ["suite-hd", "suite-video"]

        asyncio.run(scenario())

    def test_an_unroutable_follow_up_parks_its_message(self, make_broker: MakeBroker) -> None:
        broker = make_broker(task_queues=QUEUES)
        first, second = make_messages(2, "suite-orders")
        sent = by_exchange(MEDIA.name, "video.y")
        self.publish(broker, first, second)

        async def scenario() -> None:
            async with self.working(broker, "suite-orders", "suite-video") as worker:
                bad, good = await worker.claim(2)
                settlements = [
                    Settlement(bad.tag, ACK, [by_exchange(MEDIA.name, "text")]),
                    Settlement(good.tag, ACK, [sent]),
                ]
                assert not await worker.consumer.settle(settlements)
                await self.arrived(worker, [("suite-video", sent)])
            with self.administering(broker) as admin:
                self.wait_for_depth(admin, "suite-orders", ready=0, dead=1)
                (letter,) = admin.dead_letters("suite-orders", 10)
                assert "no queue is bound" in letter.reason

        asyncio.run(scenario())

    # -- broadcasts ------------------------------------------------------------------------------------------------

    def test_every_worker_that_hears_a_broadcast_gets_it_once(self, make_broker: MakeBroker) -> None:
        broker = make_broker(task_queues=[Broadcast("suite-all"), Queue("suite")])
        before, first, second = (by_exchange("suite-all") for _ in range(3))

        async def scenario() -> None:
            await self.in_thread(self.publish, broker, before)  # nobody hears it, and that is no error
            async with self.working(broker, "suite-all", "suite") as one, self.working(broker, "suite-all") as other:
                await self.in_thread(self.publish, broker, first)
                await one.consumer.publish([second])
                for worker in (one, other):
                    claimed = await worker.claim(2)
                    assert ids(claimed) == [first.id, second.id]
                    assert {public_queue(item.queue) for item in claimed} == {"suite-all"}
                    assert not await worker.settle(claimed)
                await one.nothing_comes(0.2)
            await self.in_thread(self.publish, broker, before)
            async with self.working(broker, "suite-all") as late:
                await late.nothing_comes(0.2)

        asyncio.run(scenario())

    def test_a_parked_broadcast_is_retried_by_one_worker(self, make_broker: MakeBroker) -> None:
        broker = make_broker(task_queues=[Broadcast("suite-all")])
        message = by_exchange("suite-all")

        async def scenario() -> None:
            async with self.working(broker, "suite-all") as one:
                await self.in_thread(self.publish, broker, message)
                assert not await one.settle(await one.claim(1), Dead("parked by the suite"))
                with self.administering(broker) as admin:
                    self.wait_for_depth(admin, "suite-all", dead=1)
                    (letter,) = admin.dead_letters("suite-all", 10)
                    assert admin.dead_retry("suite-all", [letter.id]) == 1
                again = await one.claim(1)
                assert ids(again) == [message.id]
                assert not await one.settle(again)

        asyncio.run(scenario())

    def test_a_broadcast_waits_for_a_worker_that_only_reconnects(
        self, make_broker: MakeBroker, cut_connections: Any
    ) -> None:
        if cut_connections is None or self.takes_over == "connection":
            pytest.skip("in this broker a worker's own queue goes with its connection")
        broker = make_broker(task_queues=[Broadcast("suite-all")])
        message = by_exchange("suite-all")

        async def scenario() -> None:
            async with self.working(broker, "suite-all") as worker:
                cut_connections()
                await self.in_thread(self.publish, broker, message)
                await worker.open()
                assert ids(await worker.claim(1)) == [message.id]

        asyncio.run(scenario())

    # -- how much of one queue -------------------------------------------------------------------------------------

    def test_of_a_limited_queue_only_so_much_is_claimed(self, broker: Broker) -> None:
        slow, other = f"suite-slow-{uuid.uuid4().hex}", "suite-other"
        self.publish(broker, *make_messages(6, slow))
        self.publish(broker, *make_messages(6, other))

        async def scenario() -> None:
            async with self.limited(broker, {slow: 2}, slow, other) as worker:
                claimed = await worker.claim(8)
                assert [item.queue for item in claimed].count(slow) == 2
                await worker.nothing_comes(0.2)
                done = next(item for item in claimed if item.queue == slow)
                assert not await worker.settle([done])
                (more,) = await worker.claim(1)  # one has ended, one comes
                assert more.queue == slow
                await worker.nothing_comes(0.2)
                assert not await worker.settle([item for item in [*claimed, more] if item is not done])
                assert [item.queue for item in await worker.claim(2)] == [slow] * 2

        asyncio.run(scenario())

    def test_a_waiting_claim_is_woken_when_a_limited_queue_has_room(self, broker: Broker) -> None:
        slow = "suite-slow"
        messages = make_messages(2, slow)
        self.publish(broker, *messages)

        async def scenario() -> None:
            async with self.limited(broker, {slow: 1}, slow) as worker:
                first = await worker.claim(1)
                waiting = asyncio.create_task(worker.claim(1))
                await asyncio.sleep(0.1)
                assert not await worker.settle(first)
                second = await waiting
                assert sorted(ids([*first, *second])) == sorted(ids(messages))

        asyncio.run(scenario())
