"""Cases of the broker suite: a consumer that is told to read other queues, and that looks into its delay."""

from __future__ import annotations

import asyncio
import time

import pytest

from celeriac.core.ports import Broker
from celeriac.testing.broker_base import BrokerCases, ids, make_message, make_messages

HERE, THERE = "suite-here", "suite-there"


class ConsumeCases(BrokerCases):
    """`Consumer.consume`."""

    def test_other_queues_are_read_and_claims_stay(self, broker: Broker) -> None:
        here, there = make_messages(2, HERE), make_messages(2, THERE)
        self.publish(broker, *here, *there)

        async def scenario() -> None:
            async with self.working(broker, HERE) as worker:
                (first,) = await worker.claim(1)
                await worker.consumer.consume([THERE])
                assert ids(await worker.claim(2)) == ids(there)
                await worker.nothing_comes()
                assert worker.consumer.holds(first.tag)
                assert not await worker.settle([first])
                await worker.consumer.consume([THERE, HERE])
                assert ids(await worker.claim(1)) == ids(here[1:])

        asyncio.run(scenario())

    def test_without_queues_nothing_comes(self, broker: Broker) -> None:
        sent = make_message(HERE)

        async def scenario() -> None:
            async with self.working(broker, HERE) as worker:
                await worker.nothing_comes(0.1)
                await worker.consumer.consume(())
                self.publish(broker, sent)
                await worker.nothing_comes()
                await worker.consumer.consume([HERE])
                await worker.consumer.consume([HERE])
                assert ids(await worker.claim(1)) == [sent.id]

        asyncio.run(scenario())

    def test_a_claim_that_waits_reads_them_too(self, broker: Broker) -> None:
        sent = make_message(THERE)

        async def scenario() -> None:
            async with self.working(broker, HERE) as worker:
                claiming = asyncio.create_task(worker.claim(1))
                await asyncio.sleep(0)
                await worker.consumer.consume([HERE, THERE])
                await asyncio.to_thread(self.publish, broker, sent)
                assert ids(await claiming) == [sent.id]

        asyncio.run(scenario())

    def test_what_is_delayed_may_be_looked_at(self, broker: Broker) -> None:
        due = time.time() + 3600.25
        later, sooner = make_message(HERE, not_before=due + 1), make_message(HERE, not_before=due)
        elsewhere = make_message(THERE, not_before=due)
        self.publish(broker, later, sooner, elsewhere)

        async def scenario() -> None:
            async with self.working(broker, HERE) as worker:
                found = await worker.consumer.upcoming(10)
                if not worker.consumer.hastens:
                    assert not found
                    return
                assert ids(found) == [sooner.id, later.id]
                assert found[0].not_before == pytest.approx(due)
                assert ids(await worker.consumer.upcoming(1)) == [sooner.id]
                await worker.nothing_comes(0.1)

        asyncio.run(scenario())
