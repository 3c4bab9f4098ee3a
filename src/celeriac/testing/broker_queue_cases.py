"""Cases of the broker suite: publishing, order, priorities, waiting, delays."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from typing import Any

import pytest

from celeriac.core.effects import ACK, Settlement
from celeriac.core.headers import LOSSES
from celeriac.core.message import Delayed, Delivery, Message
from celeriac.core.ports import Broker
from celeriac.testing.broker_base import QUEUE, BrokerCases, MakeBroker, ids, make_message, make_messages


class QueueCases(BrokerCases):
    """From a producer to a claim."""

    def test_a_message_arrives_as_it_was_sent(self, broker: Broker) -> None:
        sent = make_message(priority=3)
        sent.headers |= {"expires": None, "timelimit": [None, 7.5], "stamps": {"größe": ["ä", 1]}, "retries": 2}
        sent.body = bytes(range(256))
        sent.content_type = "application/x-msgpack"
        sent.content_encoding = "binary"
        sent.properties["reply_to"] = "someone"
        self.publish(broker, sent)

        async def scenario() -> None:
            async with self.working(broker) as worker:
                (delivery,) = await worker.claim(1)
                message = delivery.message
                assert message is not None
                assert delivery.problem is None
                assert delivery.queue == message.queue == QUEUE
                assert delivery.losses == 0
                assert {name: message.headers[name] for name in sent.headers} == sent.headers
                assert message.body == sent.body
                assert (message.content_type, message.content_encoding) == ("application/x-msgpack", "binary")
                for name in ("correlation_id", "reply_to", "priority", "delivery_mode"):
                    assert message.properties[name] == sent.properties[name]
                assert not await worker.settle([delivery])
                await worker.nothing_comes()

        asyncio.run(scenario())

    def test_a_large_message_arrives(self, broker: Broker) -> None:
        sent = make_message()
        sent.body = random.Random(1).randbytes(900_000)
        self.publish(broker, sent)

        async def scenario() -> None:
            async with self.working(broker) as worker:
                (delivery,) = await worker.claim(1)
                assert delivery.message is not None
                assert delivery.message.body == sent.body
                assert not await worker.settle([delivery])

        asyncio.run(scenario())

    def test_texts_for_people_may_hold_half_a_character(self, broker: Broker) -> None:
        """As odd names of files have it: such a header of Celery's may arrive escaped, but the message arrives."""
        sent = make_message()
        sent.headers["argsrepr"] = "('\udcff.txt',)"
        self.publish(broker, sent)

        async def scenario() -> None:
            async with self.working(broker) as worker:
                (delivery,) = await worker.claim(1)
                assert delivery.message is not None
                assert delivery.message.headers["argsrepr"] in ("('\udcff.txt',)", "('\\udcff.txt',)")
                assert not await worker.settle([delivery])

        asyncio.run(scenario())

    def test_a_batch_goes_to_several_queues_and_keeps_its_order_in_each(self, broker: Broker) -> None:
        first, second = make_messages(150, "suite-a"), make_messages(150, "größe/2 *?%s")
        mixed = [message for pair in zip(first, second, strict=True) for message in pair]
        self.publish(broker, *mixed)

        async def scenario() -> None:
            async with self.working(broker, "suite-a") as worker:
                assert ids(await worker.claim(150)) == ids(first)
            async with self.working(broker, "größe/2 *?%s") as worker:
                assert ids(await worker.claim(150)) == ids(second)

        asyncio.run(scenario())

    def test_messages_published_one_by_one_keep_their_order(self, broker: Broker) -> None:
        messages = make_messages(20)
        with self.producing(broker) as producer:
            for message in messages:
                producer.publish([message], self.deadline_s)

        async def scenario() -> None:
            async with self.working(broker) as worker:
                claimed: list[Delivery] = []
                for _ in messages:
                    claimed += await worker.claim(1)
                assert ids(claimed) == ids(messages)

        asyncio.run(scenario())

    def test_an_empty_batch_is_no_error(self, broker: Broker) -> None:
        self.publish(broker)

        async def scenario() -> None:
            async with self.working(broker) as worker:
                assert await worker.consumer.settle([]) == []
                await worker.consumer.publish([])

        asyncio.run(scenario())

    def test_one_producer_serves_many_threads(self, broker: Broker) -> None:
        batches = [make_messages(25) for _ in range(8)]
        with self.producing(broker) as producer:

            def send(batch: list[Message]) -> None:
                for message in batch:
                    producer.publish([message], self.deadline_s)

            threads = [threading.Thread(target=send, args=(batch,)) for batch in batches]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

        async def scenario() -> None:
            async with self.working(broker) as worker:
                claimed = ids(await worker.claim(200))
                assert sorted(claimed) == sorted(ids([message for batch in batches for message in batch]))
                for batch in batches:
                    assert [task_id for task_id in claimed if task_id in set(ids(batch))] == ids(batch)

        asyncio.run(scenario())

    def test_the_consumer_publishes_too(self, broker: Broker) -> None:
        messages = make_messages(3)

        async def scenario() -> None:
            async with self.working(broker) as worker:
                await worker.consumer.publish(messages)
                assert ids(await worker.claim(3)) == ids(messages)

        asyncio.run(scenario())

    def test_queues_take_turns(self, broker: Broker) -> None:
        """A long queue does not starve a short one."""
        self.publish(broker, *make_messages(1000, "suite-long"))
        self.publish(broker, *make_messages(5, "suite-short"))

        async def scenario() -> None:
            async with self.working(broker, "suite-long", "suite-short") as worker:
                claimed: list[Delivery] = []
                while sum(delivery.queue == "suite-short" for delivery in claimed) < 5:
                    assert len(claimed) < 1000, "the short queue was not served before the long one was empty"
                    claimed += (some := await worker.claim(5))
                    assert not await worker.settle(some)

        asyncio.run(scenario())

    def test_urgent_messages_come_first(self, make_broker: MakeBroker) -> None:
        if self.urgent_first is None:
            pytest.skip("this broker has no priorities")
        broker = make_broker(**self.priority_settings)
        numbers = [9, 0, 6, 3, 0, 9, 3]
        messages = [make_message(priority=number) for number in numbers]
        self.publish(broker, *messages)
        urgent_down = sorted(messages, key=lambda message: message.priority, reverse=self.urgent_first == "high")

        async def scenario() -> None:
            async with self.working(broker) as worker:
                claimed: list[Delivery] = []
                for _ in messages:
                    claimed += await worker.claim(1)
                assert ids(claimed) == ids(urgent_down)

        asyncio.run(scenario())

    def test_a_waiting_claim_is_woken_by_a_publish(self, broker: Broker) -> None:
        async def scenario() -> None:
            async with self.working(broker) as worker:
                for _ in range(5):
                    message = make_message()
                    assert await worker.consumer.claim(1, 0.2) == []  # a waiting that ends unserved spoils nothing
                    claim = asyncio.create_task(worker.consumer.claim(1, 600))
                    await asyncio.sleep(0.05)
                    await self.in_thread(self.publish, broker, message)
                    claimed = await asyncio.wait_for(claim, self.deadline_s)
                    claimed = claimed or await worker.claim(1)  # a claim may come back early, if it likes
                    assert ids(claimed) == [message.id]
                    assert not await worker.settle(claimed)

        asyncio.run(scenario())

    def test_cancelling_a_waiting_claim_loses_nothing(self, broker: Broker) -> None:
        messages = make_messages(60)
        chance = random.Random(7)

        async def one_round(
            worker_claim: asyncio.Task[list[Delivery]], publishing: asyncio.Task[None]
        ) -> list[Delivery]:
            await asyncio.sleep(chance.uniform(0, 0.01))  # no wait for anything: cancel at any moment
            worker_claim.cancel()
            try:
                return await worker_claim
            except asyncio.CancelledError:
                return []
            finally:
                await publishing

        async def scenario() -> None:
            async with self.working(broker) as worker:
                claimed: list[Delivery] = []
                with self.producing(broker) as producer:
                    for message in messages:
                        claim = asyncio.create_task(worker.consumer.claim(1, 10))
                        sending = asyncio.create_task(self.in_thread(producer.publish, [message], self.deadline_s))
                        claimed += await one_round(claim, sending)
                claimed += await worker.claim(len(messages) - len(claimed))
                assert sorted(ids(claimed)) == sorted(ids(messages))
                assert not await worker.settle(claimed)
                await worker.nothing_comes()

        asyncio.run(scenario())

    @pytest.mark.parametrize("by", ["producer", "consumer"])
    def test_a_delayed_message_is_not_early_and_arrives(self, broker: Broker, by: str) -> None:
        async def scenario() -> None:
            async with self.working(broker) as worker:
                due_at = time.time() + 1.2
                delayed = make_message(not_before=due_at)
                if by == "producer":
                    await self.in_thread(self.publish, broker, delayed)
                else:
                    await worker.consumer.publish([delayed])
                claimed = await worker.claim(1)
                assert time.time() >= due_at - self.early_s, "the message came before its time"
                assert ids(claimed) == [delayed.id]
                assert not await worker.settle(claimed)

        asyncio.run(scenario())

    def test_messages_delayed_in_any_order_become_due_in_order(self, broker: Broker) -> None:
        now = time.time()
        delayed = [make_message(not_before=now + delay_s) for delay_s in (2.4, 0.6, 1.5)]
        self.publish(broker, *delayed)

        async def scenario() -> None:
            async with self.working(broker) as worker:
                claimed = ids(await worker.claim(3))
                assert claimed == [delayed[1].id, delayed[2].id, delayed[0].id]

        asyncio.run(scenario())

    def test_a_time_in_the_past_is_no_delay(self, broker: Broker) -> None:
        message = make_message(not_before=time.time() - 100)
        self.publish(broker, message)

        async def scenario() -> None:
            async with self.working(broker) as worker:
                assert ids(await worker.claim(1)) == [message.id]

        asyncio.run(scenario())

    def test_a_message_that_becomes_due_goes_to_the_head(self, broker: Broker) -> None:
        if not self.delayed_to_head:
            pytest.skip("in this broker a message that becomes due goes to the tail")
        due_at = time.time() + 0.5
        delayed = make_message(not_before=due_at)
        self.publish(broker, delayed, *make_messages(5))

        async def scenario() -> None:
            async with self.working(broker) as worker:
                while time.time() < due_at + 0.1:
                    await worker.tick()
                    await asyncio.sleep(0.01)
                await worker.consumer.maintain()
                assert ids(await worker.claim(1)) == [delayed.id]

        asyncio.run(scenario())

    def test_a_delayed_message_can_be_brought_forward(self, broker: Broker) -> None:
        due = time.time() + 600.1
        wanted, other, later = (
            make_message(not_before=due),
            make_message(not_before=due),
            make_message(not_before=due + 1),
        )
        first, waiting = make_message(), make_messages(3)
        self.publish(broker, first)

        async def scenario() -> None:
            async with self.working(broker) as worker:
                if not worker.consumer.hastens:
                    assert await worker.consumer.hasten([Delayed(QUEUE, wanted.id, due)]) == 0
                    return
                (delivery,) = await worker.claim(1)
                delayed = Settlement(delivery.tag, ACK, publish=[wanted, other, later])
                assert not await worker.consumer.settle([delayed])
                await self.in_thread(self.publish, broker, *waiting)
                sought = [Delayed(QUEUE, wanted.id, due), Delayed(QUEUE, "nobody", due), Delayed(QUEUE, later.id, due)]
                assert await worker.consumer.hasten(sought) == 1
                claimed = await worker.claim(4)
                assert ids(claimed) == ids([wanted, *waiting])
                assert await worker.consumer.hasten(sought) == 0
                assert await worker.consumer.hasten([]) == 0
                assert not await worker.settle(claimed)
                await worker.nothing_comes()

        asyncio.run(scenario())

    def test_losses_of_a_message_that_is_sent_again_are_kept(self, broker: Broker) -> None:
        if not self.counts_losses:
            pytest.skip("this broker does not count losses")
        message = make_message()
        message.headers[LOSSES] = 2
        self.publish(broker, message)

        async def scenario() -> None:
            async with self.working(broker) as worker:
                (delivery,) = await worker.claim(1)
                assert delivery.message is not None
                assert max(delivery.losses, delivery.message.headers[LOSSES]) == 2

        asyncio.run(scenario())

    def test_what_was_published_outlives_the_broker_object(self, broker: Broker, make_broker: MakeBroker) -> None:
        if not broker.durable:
            pytest.skip("this broker is not durable")
        messages = make_messages(3)
        self.publish(broker, *messages)
        again: Any = make_broker()

        async def scenario() -> None:
            async with self.working(again) as worker:
                assert ids(await worker.claim(3)) == ids(messages)

        asyncio.run(scenario())

    def test_closing_is_idempotent(self, broker: Broker) -> None:
        producer, admin = broker.producer(), broker.admin()
        producer.publish([make_message()], self.deadline_s)
        admin.declare([QUEUE])
        for side in (producer, admin):
            side.close()
            side.close()

        async def scenario() -> None:
            consumer = broker.consumer()
            await consumer.open("suite@closing", [QUEUE])
            await consumer.release()
            await consumer.release()
            await consumer.close()
            await consumer.close()

        asyncio.run(scenario())

    def test_the_url_can_be_shown(self, broker: Broker) -> None:
        assert isinstance(broker.shown_url(), str)
