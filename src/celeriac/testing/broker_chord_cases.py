"""Cases of the broker suite: settling what belongs to a chord, for brokers that join chords themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import closing

import pytest

from celeriac.core.effects import ACK, REQUEUE, Dead, Lost, Record, Settlement
from celeriac.core.message import Delivery
from celeriac.core.ports import Backend, Broker
from celeriac.core.workflow import ChordOpening, ChordState, Collected, Completed, Part
from celeriac.testing.broker_base import SHORT_LEASE, BrokerCases, MakeStoring, ids, make_message, make_messages


class ChordCases(BrokerCases):
    """Parts are joined with the settlement; the one that completes a chord waits for what follows from that."""

    def test_parts_are_joined_with_the_settlement(self, make_storing: MakeStoring | None) -> None:
        broker, backend = self._open(make_storing, size=3)
        messages, after = make_messages(2), make_message("suite-next")
        self.publish(broker, *messages)

        async def scenario() -> None:
            async with self.working(broker) as worker:
                assert worker.consumer.stores_records
                first, second = await worker.claim(2)
                with_all = Settlement(first.tag, ACK, [after], [_record("result")], [_part("a", 0)])
                assert (
                    await worker.consumer.settle([with_all, Settlement(second.tag, ACK, parts=[_part("b", 1)])]) == []
                )
                await worker.nothing_comes()
            async with self.working(broker, "suite-next") as worker:
                assert ids(await worker.claim(1)) == [after.id]

        asyncio.run(scenario())
        assert self._state(backend).ended == 2
        assert self._stored(backend, "result")

    def test_what_completes_a_chord_waits_and_is_settled_with_its_close(self, make_storing: MakeStoring | None) -> None:
        broker, backend = self._open(make_storing, size=2)
        messages, body = make_messages(2), make_message("suite-next")
        self.publish(broker, *messages)

        async def scenario() -> None:
            async with self.working(broker) as worker, self.working(broker, "suite-next") as next_worker:
                first, last = await worker.claim(2)
                records, parts = [_record("result")], [_part("b", 1)]
                waiting = Settlement(last.tag, ACK, [make_message("suite-next")], records, parts)
                batch = [Settlement(first.tag, ACK, parts=[_part("a", 0)]), waiting]
                for _ in range(2):
                    told = [answer for answer in await worker.consumer.settle(batch) if answer != Lost(first.tag)]
                    assert told == [Completed(last.tag, "group")]
                    assert worker.consumer.holds(last.tag)
                    assert not self._stored(backend, "result"), "nothing of it is done but the joining"
                    assert self._state(backend) == ChordState("group", 2, 2, self._state(backend).updated_at, True)
                await next_worker.nothing_comes()

                whole = Settlement(last.tag, ACK, [body], records, parts, ["group"])
                assert await worker.consumer.settle([whole]) == []
                assert ids(await next_worker.claim(1)) == [body.id]
                await worker.nothing_comes()
                assert self._stored(backend, "result")
                assert self._states(backend) == []
                assert await worker.consumer.settle([whole]) == [Lost(last.tag)]
                await next_worker.nothing_comes()

        asyncio.run(scenario())
        with self.administering(broker) as admin:
            self.wait_for_depth(admin, ready=0, claimed=0)

    def test_a_lost_claim_counts_no_part_and_closes_no_chord(self, make_storing: MakeStoring | None) -> None:
        broker, backend = self._open(make_storing, size=2)
        self.publish(broker, make_message())

        async def scenario() -> None:
            async with self.working(broker) as owner, self.working(broker) as stranger:
                (delivery,) = await owner.claim(1)
                for foreign in (
                    Settlement(delivery.tag, ACK, parts=[_part("a", 0)]),
                    Settlement(delivery.tag, ACK, parts=[_part("a", 0), _part("b", 1)], closes=["group"]),
                ):
                    assert await stranger.consumer.settle([foreign]) == [Lost(delivery.tag)]
                    assert self._state(backend).ended == 0
                assert not await owner.settle([delivery])

        asyncio.run(scenario())

    def test_a_worker_that_is_lost_before_the_close_is_followed_by_another(
        self, make_storing: MakeStoring | None
    ) -> None:
        broker, backend = self._open(make_storing, size=1, **SHORT_LEASE)
        body = make_message("suite-next")
        self.publish(broker, make_message())

        async def scenario() -> None:
            async with self.working(broker) as lost, self.working(broker, "suite", "suite-next") as other:
                (delivery,) = await lost.claim(1)
                only = Settlement(delivery.tag, ACK, parts=[_part("a", 0)])
                assert await lost.consumer.settle([only]) == [Completed(delivery.tag, "group")]
                await self.vanish(lost)
                (again,) = await other.claim(1)
                assert ids([again]) == ids([delivery])
                parts = [_part("a", 0)]
                assert await other.consumer.settle([Settlement(again.tag, ACK, parts=parts)]) == [
                    Completed(again.tag, "group")
                ]
                late = Settlement(delivery.tag, ACK, [make_message("suite-next")], parts=parts, closes=["group"])
                assert await lost.consumer.settle([late]) == [Lost(delivery.tag)]
                assert self._state(backend).ended == 1
                assert await other.consumer.settle([Settlement(again.tag, ACK, [body], [], parts, ["group"])]) == []
                assert ids(await other.claim(1)) == [body.id]
                await other.nothing_comes()

        asyncio.run(scenario())
        assert self._states(backend) == []

    def test_a_finisher_that_is_given_back_finishes_when_it_comes_again(self, make_storing: MakeStoring | None) -> None:
        broker, _ = self._open(make_storing, size=1)
        self.publish(broker, make_message())

        async def scenario() -> None:
            async with self.working(broker) as worker:
                (delivery,) = await worker.claim(1)
                for _ in range(2):
                    settlement = Settlement(delivery.tag, ACK, parts=[_part("a", 0)])
                    assert await worker.consumer.settle([settlement]) == [Completed(delivery.tag, "group")]
                    assert not await worker.settle([delivery], REQUEUE)
                    (delivery,) = await worker.claim(1)
                done = Settlement(delivery.tag, ACK, parts=[_part("a", 0)], closes=["group"])
                assert await worker.consumer.settle([done]) == []
                await worker.nothing_comes()

        asyncio.run(scenario())

    def test_one_that_completes_two_chords_waits_for_both(self, make_storing: MakeStoring | None) -> None:
        broker, backend = self._open(make_storing, size=1, groups=("one", "two", "three"))
        self.publish(broker, make_message())

        async def scenario() -> None:
            async with self.working(broker) as worker:
                (delivery,) = await worker.claim(1)
                parts = [_part("a", 0, "one"), _part("b", 0, "two")]
                closes: list[str] = []
                for expected in ("one", "two"):
                    settlement = Settlement(delivery.tag, ACK, parts=parts, closes=closes)
                    assert await worker.consumer.settle([settlement]) == [Completed(delivery.tag, expected)]
                    closes = [*closes, expected]
                    assert len(self._states(backend)) == 3
                assert await worker.consumer.settle([Settlement(delivery.tag, ACK, parts=parts, closes=closes)]) == []

        asyncio.run(scenario())
        assert [state.group_id for state in self._states(backend)] == ["three"]

    def test_in_one_batch_each_settlement_waits_for_its_own_chord(self, make_storing: MakeStoring | None) -> None:
        broker, backend = self._open(make_storing, size=2, groups=("one", "two"))
        self.publish(broker, *make_messages(5))

        async def scenario() -> None:
            async with self.working(broker) as worker:
                claimed = await worker.claim(5)
                places = [("one", 0), ("two", 0), ("one", 1), ("two", 1)]
                batch = [
                    Settlement(delivery.tag, ACK, parts=[_part(f"{group}-{index}", index, group)])
                    for delivery, (group, index) in zip(claimed, places, strict=False)
                ]
                batch.insert(3, Settlement(claimed[4].tag, ACK))
                told = await worker.consumer.settle(batch)
                assert told == [Completed(claimed[2].tag, "one"), Completed(claimed[3].tag, "two")]
                still_ours = [delivery for delivery in claimed if worker.consumer.holds(delivery.tag)]
                assert claimed[2] in still_ours
                assert claimed[3] in still_ours
                closes = [
                    Settlement(claimed[at].tag, ACK, [make_message("suite-next")], closes=[group])
                    for at, group in ((3, "two"), (2, "one"))
                ]
                assert await worker.consumer.settle(closes) == []

        asyncio.run(scenario())
        assert self._states(backend) == []
        with self.administering(broker) as admin:
            self.wait_for_depth(admin, ready=0, claimed=0)
            self.wait_for_depth(admin, "suite-next", ready=2)

    def test_a_dead_letter_is_a_part_too(self, make_storing: MakeStoring | None) -> None:
        broker, backend = self._open(make_storing, size=2)
        self.publish(broker, *make_messages(2))

        async def scenario() -> None:
            async with self.working(broker) as worker:
                first, last = await worker.claim(2)
                for delivery, part, closes, expected in (
                    (first, _part("a", 0), [], []),
                    (last, _part("b", 1), [], [Completed(last.tag, "group")]),
                    (last, _part("b", 1), ["group"], []),
                ):
                    settlement = Settlement(delivery.tag, Dead("no good"), parts=[part], closes=closes)
                    assert await worker.consumer.settle([settlement]) == expected

        asyncio.run(scenario())
        with self.administering(broker) as admin:
            self.wait_for_depth(admin, claimed=0, dead=2)
        assert self._states(backend) == []

    def test_a_repeated_member_changes_nothing_after_the_close(self, make_storing: MakeStoring | None) -> None:
        broker, backend = self._open(make_storing, size=2)
        self.publish(broker, *make_messages(4))

        async def scenario() -> None:
            async with self.working(broker) as worker:
                first, last, *repeated = await worker.claim(4)
                assert not await worker.consumer.settle([Settlement(first.tag, ACK, parts=[_part("a", 0)])])
                closes = Settlement(last.tag, ACK, parts=[_part("b", 1)], closes=["group"])
                assert await worker.consumer.settle([closes]) == []
                again = [
                    Settlement(delivery.tag, ACK, parts=[part])
                    for delivery, part in zip(repeated, (_part("a", 0), _part("b", 1)), strict=True)
                ]
                assert await worker.consumer.settle(again) == []

        asyncio.run(scenario())
        with closing(backend.reader()) as reader:
            assert reader.collect("group") == Collected([])
        assert self._states(backend) == []

    def test_members_that_end_at_once_have_one_finisher(self, make_storing: MakeStoring | None) -> None:
        broker, backend = self._open(make_storing, size=60)
        self.publish(broker, *make_messages(60))
        numbers = iter(range(60))
        finishers: list[Completed] = []

        async def scenario() -> None:
            async with self.working(broker) as one, self.working(broker) as two, self.working(broker) as three:
                workers = (one, two, three)
                claims: Sequence[list[Delivery]] = [await worker.claim(20) for worker in workers]

                async def settle(at: int) -> None:
                    for delivery in claims[at]:
                        number = next(numbers)
                        settlement = Settlement(delivery.tag, ACK, parts=[_part(f"member {number}", number)])
                        told = await workers[at].consumer.settle([settlement])
                        finishers.extend(answer for answer in told if isinstance(answer, Completed))

                await asyncio.gather(settle(0), settle(1), settle(2))
                assert [finisher.group_id for finisher in finishers] == ["group"]

        asyncio.run(scenario())
        with closing(backend.reader()) as reader:
            assert reader.collect("group").parts == [_part(f"member {at}", at).payload for at in range(60)]

    # -- helpers ---------------------------------------------------------------------------------------------------

    def _open(
        self,
        make_storing: MakeStoring | None,
        *,
        size: int,
        groups: Sequence[str] = ("group",),
        **settings: object,
    ) -> tuple[Broker, Backend]:
        """Open broker and backend, and in it chords of this size."""
        if make_storing is None:
            pytest.skip("this broker stores no results, and joins no chords")
        broker, backend = make_storing(**settings)
        with closing(backend.reader()) as reader:
            reader.open_chords([ChordOpening(group, size, 3600.0) for group in groups])
        return broker, backend

    def _states(self, backend: Backend) -> list[ChordState]:
        with closing(backend.reader()) as reader:
            return reader.chords()

    def _state(self, backend: Backend) -> ChordState:
        (state,) = self._states(backend)
        return state

    def _stored(self, backend: Backend, task_id: str) -> bool:
        with closing(backend.reader()) as reader:
            return bool(reader.fetch([task_id]))


def _part(member_id: str, index: int, group_id: str = "group") -> Part:
    return Part(group_id, member_id, index, f'[1, "{member_id}", "SUCCESS", {index}]'.encode(), 3600.0)


def _record(task_id: str) -> Record:
    return Record(task_id, "SUCCESS", b'{"status": "SUCCESS", "result": null}', 3600.0)
