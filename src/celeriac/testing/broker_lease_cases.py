"""Cases of the broker suite: leases, takeover, giving back, and connections that break."""

from __future__ import annotations

import asyncio
import time

import pytest

from celeriac.core.effects import ACK, Lost, Settlement
from celeriac.core.ports import Broker
from celeriac.exceptions import BrokerUnavailable
from celeriac.testing.broker_base import (
    QUEUE,
    SHORT_LEASE,
    BrokerCases,
    CutConnections,
    MakeBroker,
    ids,
    make_message,
    make_messages,
)


class LeaseCases(BrokerCases):
    """What becomes of claims when their worker goes, stays, or comes back."""

    def test_what_a_lost_worker_had_claimed_is_taken_over(self, make_broker: MakeBroker) -> None:
        broker = make_broker(**SHORT_LEASE)
        messages, later = make_messages(3), make_messages(3)
        self.publish(broker, *messages)

        async def scenario() -> None:
            async with self.working(broker) as lost, self.working(broker) as other:
                await lost.claim(3)
                await self.vanish(lost)
                await self.in_thread(self.publish, broker, *later)
                claimed = [*await other.claim(3), *await other.claim(3)]
                assert sorted(ids(claimed)) == sorted(ids([*messages, *later]))
                if self.counts_losses:
                    counted = {delivery.message.id: delivery.losses for delivery in claimed if delivery.message}
                    assert counted == dict.fromkeys(ids(messages), 1) | dict.fromkeys(ids(later), 0)
                assert not await other.settle(claimed)
                await other.nothing_comes()

        asyncio.run(scenario())

    def test_what_is_taken_over_goes_to_the_head(self, make_broker: MakeBroker) -> None:
        if self.takes_over != "lease" or not self.requeued_to_head:
            pytest.skip("in this broker it need not")
        broker = make_broker(**SHORT_LEASE)
        messages, waiting = make_messages(3), make_messages(3)
        self.publish(broker, *messages, *waiting)

        async def scenario() -> None:
            async with self.working(broker) as lost, self.working(broker, "suite-other") as housekeeper:
                await lost.claim(3)
                with self.administering(broker) as admin:
                    until = time.monotonic() + self.deadline_s
                    while self.depth(admin).claimed:
                        assert time.monotonic() < until, "the claims were not taken over"
                        await housekeeper.tick()
                        await asyncio.sleep(0.02)
                async with self.working(broker) as other:
                    assert ids(await other.claim(6)) == ids([*messages, *waiting])

        asyncio.run(scenario())

    def test_a_late_settlement_is_lost_and_changes_nothing(self, make_broker: MakeBroker) -> None:
        broker = make_broker(**SHORT_LEASE)
        message, follow_up = make_message(), make_message()
        self.publish(broker, message)

        async def scenario() -> None:
            async with self.working(broker) as late, self.working(broker) as other:
                (stale,) = await late.claim(1)
                await self.vanish(late)
                taken = await other.claim(1)
                assert ids(taken) == [message.id]
                if self.takes_over == "connection":
                    await late.open()
                answer = await late.consumer.settle([Settlement(stale.tag, ACK, publish=[follow_up])])
                assert answer == [Lost(stale.tag)]
                if self.takes_over == "lease":
                    assert not await late.consumer.heartbeat(), "heartbeat() tells that the lease was lost"
                    assert await late.consumer.heartbeat(), "and takes a new one"
                assert not await other.settle(taken), "the late settlement must not touch the new owner's claim"
                await other.nothing_comes()
                # The late one is a worker like any other again.
                await self.in_thread(self.publish, broker, follow_up)
                while not (claimed := await late.claim_some(1)):
                    await other.tick()
                assert ids(claimed) == [follow_up.id]
                assert not await late.settle(claimed)

        asyncio.run(scenario())

    def test_a_worker_that_lost_its_lease_claims_nothing_before_it_knows(self, make_broker: MakeBroker) -> None:
        """Else it would kill what it just claimed when the heartbeat tells it."""
        if self.takes_over != "lease":
            pytest.skip("this broker has no leases")
        broker = make_broker(**SHORT_LEASE)
        self.publish(broker, make_message())

        async def scenario() -> None:
            async with self.working(broker) as late:
                await late.claim(1)
                async with self.working(broker) as other:
                    assert not await other.settle(await other.claim(1))
                await self.in_thread(self.publish, broker, message := make_message())
                assert await late.consumer.claim(1, 0.1) == []
                assert not await late.consumer.heartbeat()
                assert ids(await late.claim(1)) == [message.id]

        asyncio.run(scenario())

    def test_a_worker_that_renews_its_lease_keeps_its_claims(self, make_broker: MakeBroker) -> None:
        broker = make_broker(**SHORT_LEASE)
        self.publish(broker, *make_messages(2))

        async def scenario() -> None:
            async with self.working(broker) as busy, self.working(broker) as other:
                claimed = await busy.claim(2)
                until = time.monotonic() + 3 * SHORT_LEASE["worker_lease_s"]
                while time.monotonic() < until:
                    await busy.tick()
                    assert await other.claim_some(5) == []
                assert busy.leases_lost == 0
                assert not await busy.settle(claimed)

        asyncio.run(scenario())

    def test_a_message_that_goes_down_with_too_many_workers_is_parked(self, make_broker: MakeBroker) -> None:
        if not self.parks_after_losses:
            pytest.skip("this broker leaves that to the core")
        broker = make_broker(task_loss_limit=2, **SHORT_LEASE)
        message = make_message()
        self.publish(broker, message)

        async def scenario() -> None:
            for losses in range(3):
                async with self.working(broker) as lost, self.working(broker, "suite-other") as housekeeper:
                    (delivery,) = await lost.claim(1)
                    assert delivery.losses == losses
                    await self.vanish(lost)
                    with self.administering(broker) as admin:
                        until = time.monotonic() + self.deadline_s
                        while self.depth(admin).claimed:
                            assert time.monotonic() < until, "the claim was not taken over"
                            await housekeeper.tick()
                            await asyncio.sleep(0.02)
            async with self.working(broker) as worker:
                await worker.nothing_comes()

        asyncio.run(scenario())
        with self.administering(broker) as admin:
            (letter,) = admin.dead_letters(QUEUE, 10)
            assert letter.message is not None
            assert letter.message.id == message.id
            assert "3" in letter.reason

    def test_release_gives_every_claim_back_uncounted(self, broker: Broker) -> None:
        messages = make_messages(5)
        self.publish(broker, *messages)

        async def scenario() -> None:
            async with self.working(broker) as leaving, self.working(broker) as other:
                kept, *given_back = await leaving.claim(5)
                assert not await leaving.settle([kept])
                await leaving.consumer.release()
                await leaving.consumer.release()
                claimed = await other.claim(4)
                assert sorted(ids(claimed)) == sorted(ids(given_back))
                if self.requeued_to_head:
                    assert ids(claimed) == ids(given_back)
                assert [delivery.losses for delivery in claimed] == [0, 0, 0, 0]
                assert not await other.settle(claimed)

        asyncio.run(scenario())

    def test_a_delayed_message_outlives_the_worker_that_was_to_keep_it(self, broker: Broker) -> None:
        due_at = time.time() + 1.0
        delayed = make_message(not_before=due_at)

        async def scenario() -> None:
            async with self.working(broker) as first:
                await first.consumer.publish([delayed])
                await first.tick()
            async with self.working(broker) as second:
                assert ids(await second.claim(1)) == [delayed.id]
                assert time.time() >= due_at - self.early_s

        asyncio.run(scenario())

    def test_opening_again_keeps_the_identity(self, broker: Broker) -> None:
        self.publish(broker, *make_messages(2))

        async def scenario() -> None:
            async with self.working(broker) as worker:
                first, second = await worker.claim(2)
                await worker.open()
                if self.takes_over == "lease":
                    assert await worker.settle([first, second]) == []
                else:
                    assert await worker.settle([first, second]) == [Lost(first.tag), Lost(second.tag)]
                    assert not await worker.settle(await worker.claim(2))
                await worker.nothing_comes()

        asyncio.run(scenario())

    def test_cut_connections_are_made_anew(self, broker: Broker, cut_connections: CutConnections | None) -> None:
        if cut_connections is None:
            pytest.skip("no way given to cut this broker's connections")
        messages = make_messages(20)

        async def scenario() -> None:
            with self.producing(broker) as producer, self.administering(broker) as admin:
                async with self.working(broker) as worker:
                    done: set[str] = set()
                    for message in messages:
                        await asyncio.to_thread(cut_connections)
                        for attempt in range(10):
                            try:
                                await self.in_thread(producer.publish, [message], self.deadline_s)
                                break
                            except BrokerUnavailable:
                                assert attempt < 9, "the producer does not come back"
                        until = time.monotonic() + self.deadline_s
                        while message.id not in done:
                            assert time.monotonic() < until, "the consumer does not come back"
                            try:
                                claimed = await worker.claim_some(5)
                                lost = {answer.tag for answer in await worker.settle(claimed)}
                                done |= {x.message.id for x in claimed if x.message and x.tag not in lost}
                            except BrokerUnavailable:
                                try:
                                    await worker.open()
                                except BrokerUnavailable:
                                    await asyncio.sleep(0.02)
                    assert done == set(ids(messages))
                await asyncio.to_thread(cut_connections)
                try:
                    admin.queues()
                except BrokerUnavailable:
                    admin.queues()

        asyncio.run(scenario())
