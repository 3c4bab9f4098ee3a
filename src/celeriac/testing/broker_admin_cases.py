"""Cases of the broker suite: looking into a broker, tidying it, and revocations."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from msgspec.structs import replace

from celeriac.core.effects import Dead
from celeriac.core.message import Message, Revocation
from celeriac.core.ports import Broker
from celeriac.core.revoking import stamp_id
from celeriac.testing.broker_base import QUEUE, BrokerCases, Worker, make_message, make_messages


class AdminCases(BrokerCases):
    """What the command line asks for."""

    def test_declared_queues_exist_and_are_empty(self, broker: Broker) -> None:
        with self.administering(broker) as admin:
            admin.declare([QUEUE, "suite-other"])
            admin.declare([QUEUE])
            depths = admin.depths([QUEUE, "suite-other"])
            assert [depth.queue for depth in depths] == [QUEUE, "suite-other"]
            for depth in depths:
                assert self.counts(depth) == dict.fromkeys(self.depths_tell, 0)

    def test_queues_with_messages_are_known(self, broker: Broker) -> None:
        self.publish(broker, make_message("suite-a"), make_message("suite-b"))
        with self.administering(broker) as admin:
            self.wait_until(lambda: {"suite-a", "suite-b"} <= set(admin.queues()), lambda: str(admin.queues()))

    def test_an_unknown_queue_is_empty(self, broker: Broker) -> None:
        with self.administering(broker) as admin:
            depth = self.depth(admin, "suite-never-used")
            assert self.counts(depth) == dict.fromkeys(self.depths_tell, 0)
            assert admin.purge("suite-never-used") == 0
            assert admin.dead_letters("suite-never-used", 10) == []
            assert admin.dead_retry("suite-never-used", ["1"]) == 0
            assert admin.dead_purge("suite-never-used", ["1"]) == 0

    def test_depths_count_each_state(self, broker: Broker) -> None:
        later = time.time() + 3600
        self.publish(broker, *make_messages(3), *[make_message(not_before=later) for _ in range(2)])
        with self.administering(broker) as admin:
            self.wait_for_depth(admin, ready=3, delayed=2, claimed=0, dead=0)
            age_s = self.depth(admin).oldest_age_s
            assert age_s is None or 0 <= age_s < 3600

            async def scenario() -> None:
                async with self.working(broker) as worker:
                    claimed = await worker.claim(3)
                    await asyncio.to_thread(self.wait_for_depth, admin, ready=0, delayed=2, claimed=3, dead=0)
                    assert not await worker.settle(claimed[:1])
                    assert not await worker.settle(claimed[1:], Dead("counted"))
                    await asyncio.to_thread(self.wait_for_depth, admin, ready=0, delayed=2, claimed=0, dead=2)

            asyncio.run(scenario())

    def test_purge_deletes_what_waits_and_nothing_else(self, broker: Broker) -> None:
        later = time.time() + 3600
        self.publish(broker, *make_messages(2))

        async def scenario() -> None:
            async with self.working(broker) as worker:
                claimed = await worker.claim(2)
                assert not await worker.settle(claimed[:1], Dead("stays"))
                await self.in_thread(
                    self.publish,
                    broker,
                    *make_messages(4, "suite-purged"),
                    make_message("suite-purged", not_before=later),
                )
                await self.in_thread(self.publish, broker, make_message("suite-other"))
                with self.administering(broker) as admin:
                    self.wait_for_depth(admin, "suite-purged", ready=4, delayed=1)
                    assert admin.purge("suite-purged") == (5 if self.purges_delayed else 4)
                    assert admin.purge("suite-purged") == 0
                    assert admin.purge(QUEUE) == 0
                    self.wait_for_depth(admin, "suite-purged", ready=0, delayed=0 if self.purges_delayed else 1)
                    self.wait_for_depth(admin, "suite-other", ready=1)
                    assert len(admin.dead_letters(QUEUE, 10)) == 1
                assert not await worker.settle(claimed[1:])

        asyncio.run(scenario())

    def test_revocations_reach_a_consumer_opened_before_and_after_once_each(self, broker: Broker) -> None:
        expires_at = time.time() + 3600
        early = Revocation("revoked-early", expires_at)
        late = Revocation("revoked-late", expires_at, terminate=True, signal="SIGINT")

        async def scenario() -> None:
            async with self.working(broker) as worker:
                assert await worker.consumer.revocations() == []
                with self.administering(broker) as admin:
                    await self.in_thread(admin.revoke, [early])
                    await self._see(worker, [early])
                    await self.in_thread(admin.revoke, [late])
                    await self._see(worker, [late])
                    await self.in_thread(admin.revoke, [late])  # said twice, it is one
                async with self.working(broker) as newcomer:
                    await self._see(newcomer, [early, late])
                    await newcomer.nothing_comes(0.1)
                    assert await newcomer.consumer.revocations() == []
                assert await worker.consumer.revocations() == []

        asyncio.run(scenario())

    def test_an_expired_revocation_is_not_in_force(self, broker: Broker) -> None:
        in_force = Revocation("revoked-now", time.time() + 3600)
        with self.administering(broker) as admin:
            admin.revoke([Revocation("revoked-long-ago", time.time() - 1), in_force])

        async def scenario() -> None:
            async with self.working(broker) as worker:
                await self._see(worker, [in_force])

        asyncio.run(scenario())

    def test_a_revocation_may_have_an_id_of_any_characters(self, broker: Broker) -> None:
        odd = Revocation(stamp_id("tenant", {"name": 'é "\\\n', "n": [1, None]}), time.time() + 3600, terminate=True)
        with self.administering(broker) as admin:
            admin.revoke([odd])

        async def scenario() -> None:
            async with self.working(broker) as worker:
                await self._see(worker, [odd])

        asyncio.run(scenario())

    def test_what_is_revoked_is_taken_out_of_its_delay(self, broker: Broker) -> None:
        if not self.purges_delayed:
            with self.administering(broker) as admin:
                assert admin.withdraw_delayed([Revocation("x", time.time() + 60)], lambda found: [], 5.0) == 0
            return
        later = time.time() + 3600
        dropped, replaced, kept, ready = make_messages(4)
        stamped = make_message("suite-other")
        stamped.headers |= {"stamped_headers": ["tenant", "ä"], "stamps": {"tenant": ["acme"], "ä": 7}}
        for message in (dropped, replaced, kept, stamped):
            message.not_before = later
        self.publish(broker, dropped, replaced, kept, ready, stamped)
        many = [f"other-{number}" for number in range(30)]  # more than can be looked for one by one
        found: list[str] = []

        def conclude(messages: Sequence[Message]) -> list[Message | None]:
            found.extend(message.id for message in messages)
            instead = replace(replaced, headers={**replaced.headers, "instead": 1}, not_before=None)
            return [instead if message.id == replaced.id else None for message in messages]

        def revoked(*ids: str) -> list[Revocation]:
            return [Revocation(one, later) for one in ids]

        with self.administering(broker) as admin:
            self.wait_for_depth(admin, ready=1, delayed=3)
            assert admin.withdraw_delayed(revoked("nobody", *many), conclude, 30.0) == 0
            assert found == []
            assert admin.withdraw_delayed(revoked(dropped.id, ready.id), conclude, 30.0) == 1
            assert admin.withdraw_delayed(revoked(replaced.id, dropped.id, *many), conclude, 30.0) == 1
            assert found == [dropped.id, replaced.id]
            self.wait_for_depth(admin, ready=2, delayed=1)
            assert admin.withdraw_delayed(revoked(stamp_id("tenant", "zebra"), stamp_id("ä", 8)), conclude, 30.0) == 0
            assert admin.withdraw_delayed(revoked(stamp_id("ä", 7)), conclude, 30.0) == 1
            assert found == [dropped.id, replaced.id, stamped.id]
            self.wait_for_depth(admin, "suite-other", ready=0, delayed=0)

        async def scenario() -> None:
            async with self.working(broker) as worker:
                claimed = [delivery.message for delivery in await worker.claim(2)]
                assert {message.id: message.headers.get("instead") for message in claimed if message is not None} == {
                    replaced.id: 1,
                    ready.id: None,
                }

        asyncio.run(scenario())

    async def _see(self, worker: Worker, expected: list[Revocation]) -> None:
        """Wait until the consumer returns exactly these."""
        seen: list[Revocation] = []
        until = time.monotonic() + self.deadline_s
        while len(seen) < len(expected):
            assert time.monotonic() < until, f"expected {expected}, saw {seen}"
            await worker.tick()
            seen += await worker.consumer.revocations()
            await asyncio.sleep(0.02)
        key = [(x.id, x.terminate, x.signal, round(x.expires_at)) for x in sorted(seen, key=lambda x: x.id)]
        assert key == [(x.id, x.terminate, x.signal, round(x.expires_at)) for x in sorted(expected, key=lambda x: x.id)]
