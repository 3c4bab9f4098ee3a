"""Cases of the broker suite: settling, follow-ups, dead letters, bytes that are no message."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter

import pytest

from celeriac.core.effects import ACK, REQUEUE, Dead, Lost, Settlement, Verdict
from celeriac.core.headers import CRASHES, LOSSES
from celeriac.core.message import DeadLetter, Delivery, Message
from celeriac.core.ports import Admin, Broker
from celeriac.testing.broker_base import (
    QUEUE,
    BrokerCases,
    PutRaw,
    Worker,
    ids,
    make_message,
    make_messages,
    settlements,
)


class SettleCases(BrokerCases):
    """From a claim to its end."""

    def test_an_acknowledged_message_is_gone(self, broker: Broker) -> None:
        self.publish(broker, *make_messages(10))

        async def scenario() -> None:
            async with self.working(broker) as worker:
                assert not await worker.settle(await worker.claim(10))
                await worker.nothing_comes()
            async with self.working(broker) as other:
                await other.nothing_comes()

        asyncio.run(scenario())
        with self.administering(broker) as admin:
            self.wait_for_depth(admin, ready=0, delayed=0, claimed=0, dead=0)

    def test_settling_twice_is_lost(self, broker: Broker) -> None:
        self.publish(broker, *make_messages(3))

        async def scenario() -> None:
            async with self.working(broker) as worker:
                verdicts: list[Verdict] = [ACK, Dead("bad"), REQUEUE]
                for verdict, delivery in zip(verdicts, await worker.claim(3), strict=True):
                    settlement = Settlement(delivery.tag, verdict)
                    assert await worker.consumer.settle([settlement]) == []
                    assert await worker.consumer.settle([settlement]) == [Lost(delivery.tag)]
                assert not await worker.settle(await worker.claim(1))

        asyncio.run(scenario())

    def test_settling_what_another_worker_claimed_is_lost(self, broker: Broker) -> None:
        message, follow_up = make_message(), make_message()
        self.publish(broker, message)

        async def scenario() -> None:
            async with self.working(broker) as owner, self.working(broker) as stranger:
                (delivery,) = await owner.claim(1)
                foreign = Settlement(delivery.tag, ACK, publish=[follow_up])
                assert await stranger.consumer.settle([foreign]) == [Lost(delivery.tag)]
                await stranger.nothing_comes()
                assert await owner.settle([delivery]) == []

        asyncio.run(scenario())

    def test_follow_ups_are_published_with_the_settlement(self, broker: Broker) -> None:
        message, other_queue = make_message(), make_message("suite-next")
        same_queue = make_messages(2)
        due_at = time.time() + 1.0
        delayed = make_message(not_before=due_at)
        self.publish(broker, message)

        async def scenario() -> None:
            async with self.working(broker, QUEUE, "suite-next") as worker:
                (delivery,) = await worker.claim(1)
                follow_ups = [*same_queue, other_queue, delayed]
                assert not await worker.consumer.settle([Settlement(delivery.tag, ACK, publish=follow_ups)])
                at_once = ids(await worker.claim(3))
                assert sorted(at_once) == sorted(ids([*same_queue, other_queue]))
                assert ids(await worker.claim(1)) == [delayed.id]
                assert time.time() >= due_at - self.early_s

        asyncio.run(scenario())

    def test_in_one_batch_each_settlement_stands_alone(self, broker: Broker) -> None:
        messages, follow_up, unwanted = make_messages(4), make_message("suite-next"), make_message("suite-next")
        self.publish(broker, *messages)

        async def scenario() -> None:
            async with self.working(broker) as worker:
                first, second, third, fourth = await worker.claim(4)
                assert not await worker.settle([first])
                batch = [
                    Settlement(second.tag, Dead("no good")),
                    Settlement(first.tag, ACK, publish=[unwanted]),
                    Settlement(third.tag, ACK, publish=[follow_up]),
                    Settlement(fourth.tag, REQUEUE),
                ]
                assert await worker.consumer.settle(batch) == [Lost(first.tag)]
                assert ids(await worker.claim(1)) == [messages[3].id]
            async with self.working(broker, "suite-next") as worker:
                assert ids(await worker.claim(1)) == [follow_up.id]
                await worker.nothing_comes()
            with self.administering(broker) as admin:
                assert [letter.reason for letter in self._letters(admin, 1)] == ["no good"]

        asyncio.run(scenario())

    def test_a_requeued_message_comes_again_unchanged_and_uncounted(self, broker: Broker) -> None:
        message, others = make_message(), make_messages(5)
        self.publish(broker, message, *others)

        async def scenario() -> None:
            async with self.working(broker) as worker:
                (first,) = await worker.claim(1)
                assert not await worker.settle([first], REQUEUE)
                if self.requeued_to_head:
                    (again,) = await worker.claim(1)
                else:
                    again = next(item for item in await worker.claim(6) if ids([item]) == [message.id])
                assert again.message is not None
                assert again.message.headers == message.headers
                assert again.message.body == message.body
                assert again.losses == 0
                assert ids([again]) == [message.id]
                assert again.tag != first.tag, "a tag must not settle a later claim of the same message"
                assert await worker.settle([first]) == [Lost(first.tag)]
                assert not await worker.settle([again])

        asyncio.run(scenario())

    def test_a_dead_message_is_parked_and_listed(self, broker: Broker) -> None:
        messages = make_messages(3)
        self.publish(broker, *messages)

        async def scenario() -> None:
            async with self.working(broker) as worker:
                for number, delivery in enumerate(await worker.claim(3)):
                    assert not await worker.settle([delivery], Dead(f"reason {number}: größe"))
                await worker.nothing_comes()

        asyncio.run(scenario())
        with self.administering(broker) as admin:
            letters = self._letters(admin, 3)
            assert sorted(letter.reason for letter in letters) == [f"reason {number}: größe" for number in range(3)]
            assert len({letter.id for letter in letters}) == 3
            for letter in letters:
                assert letter.queue == QUEUE
                assert abs(letter.parked_at - time.time()) < 3600
                assert letter.message is not None
                assert letter.message.body == messages[0].body
            assert sorted(letter.message.id for letter in letters if letter.message) == sorted(ids(messages))
            assert [letter.parked_at for letter in letters] == sorted((x.parked_at for x in letters), reverse=True)
            assert len(admin.dead_letters(QUEUE, 2)) == 2
            assert admin.dead_letters("suite-other", 10) == []
            self.wait_for_depth(admin, ready=0, claimed=0, dead=3)

    def test_dead_messages_are_retried_with_their_counts_reset(self, broker: Broker) -> None:
        messages = make_messages(3)
        for message in messages:
            message.headers |= {CRASHES: 3, LOSSES: 2}
        self._park(broker, messages)
        waiting = make_messages(4)
        self.publish(broker, *waiting)
        with self.administering(broker) as admin:
            chosen = [x.id for x in self._letters(admin, 3) if x.message is not None and x.message.id != messages[1].id]
            assert admin.dead_retry(QUEUE, chosen) == 2
            assert admin.dead_retry(QUEUE, chosen) == 0
            assert [letter.message.id for letter in self._letters(admin, 1) if letter.message] == [messages[1].id]

        async def scenario() -> None:
            async with self.working(broker) as worker:
                claimed = await worker.claim(2 if self.requeued_to_head else 6)
                retried = {messages[0].id, messages[2].id}
                assert {task_id for task_id in ids(claimed) if task_id not in ids(waiting)} == retried
                for delivery in claimed:
                    assert delivery.losses == 0
                    assert delivery.message is not None
                    assert not delivery.message.headers.get(CRASHES)
                    assert not delivery.message.headers.get(LOSSES)

        asyncio.run(scenario())

    def test_dead_messages_are_purged(self, broker: Broker) -> None:
        self._park(broker, make_messages(3))
        with self.administering(broker) as admin:
            first, *others = [letter.id for letter in self._letters(admin, 3)]
            assert admin.dead_purge(QUEUE, [first, "no such id"]) == 1
            assert sorted(letter.id for letter in self._letters(admin, 2)) == sorted(others)
            assert admin.dead_purge(QUEUE, others) == 2
            assert admin.dead_letters(QUEUE, 10) == []

    @pytest.mark.parametrize("raw", [b"no message at all", b"", b"\x00\xff{", b"null", b"[1]", b'{"body": 7}'])
    def test_bytes_that_are_no_message_are_delivered_as_a_problem(
        self, broker: Broker, put_raw: PutRaw | None, raw: bytes
    ) -> None:
        if put_raw is None:
            pytest.skip("no way given to put raw bytes into this broker")
        with self.administering(broker) as admin:
            admin.declare([QUEUE])
        put_raw(QUEUE, raw)
        good = make_message()
        self.publish(broker, good)

        async def scenario() -> None:
            async with self.working(broker) as worker:
                bad, fine = await worker.claim(2)
                assert bad.message is None
                assert bad.problem
                assert bad.raw == raw
                assert ids([fine]) == [good.id]
                assert not await worker.settle([bad], Dead(bad.problem))
                assert not await worker.settle([fine])

        asyncio.run(scenario())
        with self.administering(broker) as admin:
            (letter,) = self._letters(admin, 1)
            assert letter.message is None
            assert letter.raw == raw
            assert letter.reason
            assert admin.dead_retry(QUEUE, [letter.id]) == 1

        async def once_more() -> None:
            async with self.working(broker) as worker:
                (bad,) = await worker.claim(1)
                assert bad.raw == raw
                assert not await worker.settle([bad], REQUEUE)
                (bad,) = await worker.claim(1)
                assert bad.raw == raw
                assert not await worker.settle([bad])

        asyncio.run(once_more())

    def test_two_consumers_share_a_queue_without_overlap(self, broker: Broker) -> None:
        messages = make_messages(100)
        self.publish(broker, *messages)

        async def scenario() -> None:
            async with self.working(broker) as one, self.working(broker) as two:
                seen: list[Delivery] = []
                until = time.monotonic() + self.deadline_s
                while len(seen) < 100:
                    assert time.monotonic() < until, f"only {len(seen)} of 100 messages came"
                    for worker in (one, two):
                        seen += (some := await worker.claim_some(7))
                        assert not await worker.settle(some)
                assert sorted(ids(seen)) == sorted(ids(messages))
                await one.nothing_comes()
                await two.nothing_comes()

        asyncio.run(scenario())

    def test_many_messages_are_each_settled_exactly_once(self, broker: Broker) -> None:
        messages = make_messages(2000)
        chance = random.Random(5)
        done: Counter[str] = Counter()

        async def work(worker: Worker) -> None:
            until = time.monotonic() + 4 * self.deadline_s
            while done.total() < len(messages):
                assert time.monotonic() < until, f"only {done.total()} of {len(messages)} messages were settled"
                claimed = await worker.claim_some(chance.randint(1, 60))
                back = [delivery for delivery in claimed if chance.random() < 0.2]
                kept = [delivery for delivery in claimed if delivery not in back]
                assert not await worker.consumer.settle([*settlements(back, REQUEUE), *settlements(kept)])
                done.update(ids(kept))

        async def scenario() -> None:
            async with self.working(broker) as one, self.working(broker) as two, self.working(broker) as three:
                await self.in_thread(self.publish, broker, *messages)
                await asyncio.gather(work(one), work(two), work(three))
                await one.nothing_comes()

        asyncio.run(scenario())
        assert done == Counter(ids(messages))

    def _letters(self, admin: Admin, count: int) -> list[DeadLetter]:
        """Wait for so many dead letters and return them, newest first."""
        found: list[list[DeadLetter]] = [[]]

        def are_there() -> bool:
            found[0] = admin.dead_letters(QUEUE, 100)
            return len(found[0]) == count

        self.wait_until(are_there, lambda: f"expected {count} dead letters, found {found[0]}")
        return found[0]

    def _park(self, broker: Broker, messages: list[Message]) -> None:
        self.publish(broker, *messages)

        async def scenario() -> None:
            async with self.working(broker) as worker:
                assert not await worker.settle(await worker.claim(len(messages)), Dead("parked by the suite"))

        asyncio.run(scenario())
