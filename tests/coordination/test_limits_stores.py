"""Every store of limits answers alike: permits, lines, leases and rates, in memory, SQLite and Redis."""

from __future__ import annotations

import asyncio
import sqlite3
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from celeriac.coordination.limits import LimitStore, RateBoard, open_limit_store, open_rate_board
from celeriac.coordination.limits_memory import MemoryLimits, MemoryRateBoard
from celeriac.core.limits import Answer, Hold, Question, Terms
from celeriac.core.message import Delayed
from celeriac.core.settings import make_settings
from celeriac.exceptions import CoordinationUnavailable
from tests.services import PrivateRedis, free_port

LEASE_S = 1.0
SETTINGS = make_settings({"worker_lease_s": LEASE_S, "worker_heartbeat_s": 0.2})
TERMS = Terms(near_s=0.25, horizon_s=60.0, wakes=True)
DEADLINE_S = 20.0

Scenario = Callable[[LimitStore], Awaitable[None]]


class Place:
    """Where the stores of a test meet."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.memory = MemoryLimits(LEASE_S)

    def store(self) -> LimitStore:
        return open_limit_store(self.url, SETTINGS, self.memory)

    def board(self) -> RateBoard:
        return MemoryRateBoard(self.memory) if self.url == "memory://" else open_rate_board(self.url, SETTINGS)

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[LimitStore]:
        store = self.store()
        try:
            yield store
        finally:
            await store.close()

    def play(self, scenario: Scenario) -> None:
        async def run() -> None:
            async with self.opened() as store:
                await scenario(store)

        asyncio.run(run())


@pytest.fixture(params=["memory", "sqlite", pytest.param("redis", marks=pytest.mark.redis)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    match request.param:
        case "memory":
            return Place("memory://")
        case "sqlite":
            return Place(f"sqlite:///{tmp_path}/limits.db")
    return Place(request.getfixturevalue("redis_url"))


def permit(number: int, permits: int = 1, key: str = "task") -> Question:
    """The question of run `number` for a permit."""
    return Question(holder=f"run-{number}/0", task_id=f"id-{number}", queue="q", permits_key=key, permits=permits)


def turn(interval_s: float, slot: float | None = None, key: str = "task") -> Question:
    """A question for a start."""
    name = uuid.uuid4().hex
    return Question(holder=f"{name}/0", task_id=name, queue="q", pace_key=key, interval_s=interval_s, slot=slot)


def hold(number: int, permits: int = 1, key: str = "task") -> Hold:
    return Hold(key, permits, f"run-{number}/0")


async def ask(
    store: LimitStore, questions: Sequence[Question], owner: str = "one", terms: Terms = TERMS
) -> tuple[list[bool], list[Answer], list[Delayed]]:
    answers, woken = await store.ask(owner, questions, terms, time.time())
    assert len(answers) == len(questions)
    return [answer.starts for answer in answers], answers, woken


def ids(woken: Sequence[Delayed]) -> list[str]:
    return [one.task_id for one in woken]


# -- permits ----------------------------------------------------------------------------------------------------------


def test_so_many_get_a_permit_and_the_others_wait_in_line(place: Place) -> None:
    async def scenario(store: LimitStore) -> None:
        may, answers, _ = await ask(store, [permit(number, 2) for number in range(5)])
        assert may == [True, True, False, False, False]
        for answer in answers[2:]:
            assert answer.due is not None
            assert answer.after_s > 0
            assert answer.slot is None
        woken = await store.free("one", [hold(0, 2)])
        assert ids(woken) == ["id-2"]
        assert woken[0].due == answers[2].due  # to the last bit: the broker finds it by that
        assert woken[0].queue == "q"
        assert ids(await store.free("one", [hold(1, 2)])) == ["id-3"]
        # Who comes anew stands behind those who wait, who may both start.
        assert (await ask(store, [permit(9, 2), permit(3, 2), permit(2, 2), permit(4, 2)]))[0] == [
            False,
            True,
            True,
            False,
        ]

    place.play(scenario)


def test_one_who_asks_again_keeps_its_place(place: Place) -> None:
    async def scenario(store: LimitStore) -> None:
        assert (await ask(store, [permit(number) for number in range(4)]))[0] == [True, False, False, False]
        assert (await ask(store, [permit(2), permit(1)]))[0] == [False, False]
        assert ids(await store.free("one", [hold(0)])) == ["id-1"]

    place.play(scenario)


def test_a_place_in_the_line_can_be_given_up(place: Place) -> None:
    async def scenario(store: LimitStore) -> None:
        await ask(store, [permit(number) for number in range(4)])
        assert await store.quit([hold(1)]) == []
        assert ids(await store.free("one", [hold(0)])) == ["id-2"]
        assert ids(await store.quit([hold(2)])) == ["id-3"]

    place.play(scenario)


def test_one_who_expires_before_its_time_to_ask_again_is_woken_all_the_same(place: Place) -> None:
    async def scenario(store: LimitStore) -> None:
        hurried, expires_at = permit(1), time.time() + 3.0
        hurried.expires_at = expires_at
        _, answers, _ = await ask(store, [permit(0), hurried])
        assert answers[1].due == expires_at  # where its message will be, for it has to come back then
        assert 0 < answers[1].after_s <= 3.0
        assert [one.due for one in await store.free("one", [hold(0)])] == [expires_at]

    place.play(scenario)


def test_a_crashed_run_that_comes_again_stands_in_line_and_frees_its_permit(place: Place) -> None:
    """It may come before its former worker has given the permit back, which then must not cost it its place."""

    async def scenario(store: LimitStore) -> None:
        await ask(store, [permit(0), permit(1)], "crashed")
        may, _, woken = await ask(store, [permit(0)], "new")
        assert (may, ids(woken)) == ([False], ["id-1"])
        assert await store.free("crashed", [hold(0)]) == []
        assert (await ask(store, [permit(1)], "new"))[0] == [True]
        assert ids(await store.free("new", [hold(1)])) == ["id-0"]

    place.play(scenario)


def test_giving_back_is_idempotent_and_for_the_owner_only(place: Place) -> None:
    async def scenario(store: LimitStore) -> None:
        await ask(store, [permit(0), permit(1)])
        assert await store.free("other", [hold(0)]) == []
        assert (await ask(store, [permit(2)]))[0] == [False]
        assert ids(await store.free("one", [hold(0)])) == ["id-1"]
        assert await store.free("one", [hold(0)]) == []

    place.play(scenario)


def test_the_same_run_taken_over_by_another_worker_needs_no_second_permit(place: Place) -> None:
    async def scenario(store: LimitStore) -> None:
        assert (await ask(store, [permit(0)], "lost"))[0] == [True]
        assert (await ask(store, [permit(0)], "new"))[0] == [True]
        assert await store.free("lost", [hold(0)]) == []  # the late end of the lost one frees nothing
        assert (await ask(store, [permit(1)]))[0] == [False]
        assert ids(await store.free("new", [hold(0)])) == ["id-1"]

    place.play(scenario)


def test_keys_do_not_know_each_other(place: Place) -> None:
    async def scenario(store: LimitStore) -> None:
        assert (await ask(store, [permit(number, key=f"k{number % 3}") for number in range(6)]))[0] == [True] * 3 + [
            False
        ] * 3
        assert ids(await store.free("one", [hold(1, key="k1")])) == ["id-4"]

    place.play(scenario)


def test_one_who_was_woken_before_it_was_in_the_delay_is_told(place: Place) -> None:
    async def scenario(store: LimitStore) -> None:
        await ask(store, [permit(0), permit(1)])
        assert await store.parked([hold(1)]) == []
        woken = await store.free("one", [hold(0)])
        assert await store.parked([hold(1), hold(7)]) == woken
        assert (await ask(store, [permit(1)]))[0] == [True]
        assert await store.parked([hold(1)]) == []

    place.play(scenario)


def test_permits_of_a_worker_that_is_gone_come_back(place: Place) -> None:
    async def scenario(store: LimitStore) -> None:
        assert (await ask(store, [permit(0)], "gone"))[0] == [True]
        assert (await ask(store, [permit(1)], "alive"))[0] == [False]
        until = time.monotonic() + DEADLINE_S
        while not (woken := (await store.renew("alive", [], {"task": 1})).woken):
            assert time.monotonic() < until
            await asyncio.sleep(0.1)
        assert ids(woken) == ["id-1"]
        assert (await ask(store, [permit(1)], "alive"))[0] == [True]

    place.play(scenario)


def test_a_worker_that_leaves_holds_nothing(place: Place) -> None:
    async def scenario(store: LimitStore) -> None:
        await ask(store, [permit(0)], "leaves")
        await store.leave("leaves")
        assert (await ask(store, [permit(1)], "other"))[0] == [True]

    place.play(scenario)


def test_after_an_outage_everybody_gets_the_time_to_renew(place: Place) -> None:
    async def scenario(store: LimitStore) -> None:
        assert (await ask(store, [permit(0)], "one"))[0] == [True]
        await asyncio.sleep(1.2 * LEASE_S)  # nobody was heard of: the store was away
        assert (await ask(store, [permit(1)], "two"))[0] == [False]
        await store.renew("one", [hold(0)], {})
        assert (await ask(store, [permit(1)], "two"))[0] == [False]

    place.play(scenario)


def test_what_is_held_is_said_again(place: Place) -> None:
    """Whatever the store has forgotten, what runs is counted."""

    async def scenario(store: LimitStore) -> None:
        await store.renew("one", [hold(0)], {})
        assert (await ask(store, [permit(1)], "two"))[0] == [False]
        await store.renew("two", [hold(0)], {})  # does not take it from its owner
        assert ids(await store.free("one", [hold(0)])) == ["id-1"]

    place.play(scenario)


def test_without_waking_one_asks_again_soon(place: Place) -> None:
    terms = Terms(near_s=1.5, horizon_s=60.0, wakes=False)

    async def scenario(store: LimitStore) -> None:
        _, answers, _ = await ask(store, [permit(number) for number in range(1005)], terms=terms)
        waits = [answer.after_s for answer in answers[1:]]
        assert waits == sorted(waits)
        found = [waits[rank] for rank in (0, 1, 20, 49, 50, 900, 1000, 1003)]
        assert found == pytest.approx([0.1, 0.2, 1.0, 1.0, 2.5, 11.0, 60.0, 60.0], abs=0.001)

    place.play(scenario)


def test_many_workers_at_once_never_get_more_than_there_are(place: Place) -> None:
    async def scenario(store: LimitStore) -> None:
        running: set[str] = set()
        most = 0

        async def work(owner: str, mine: LimitStore, numbers: list[int]) -> None:
            nonlocal most
            while numbers:
                number = numbers.pop(0)
                may, _, _ = await ask(mine, [permit(number, 3)], owner)
                if not may[0]:
                    numbers.append(number)
                    await asyncio.sleep(0.001)
                    continue
                running.add(f"{number}")
                most = max(most, len(running))
                await asyncio.sleep(0.002)
                running.discard(f"{number}")
                await mine.free(owner, [hold(number, 3)])

        async with place.opened() as second, asyncio.TaskGroup() as group:
            for index, mine in enumerate((store, second, store, second)):
                group.create_task(work(f"w{index}", mine, list(range(index * 100, index * 100 + 10))))
        assert most == 3

    place.play(scenario)


# -- rates ------------------------------------------------------------------------------------------------------------


def test_starts_are_one_interval_apart(place: Place) -> None:
    async def scenario(store: LimitStore) -> None:
        may, answers, _ = await ask(store, [turn(10.0) for _ in range(4)])
        assert may == [True, False, False, False]
        slots = [answer.slot for answer in answers[1:]]
        assert all(slots)
        for one, other in pairwise(slots):
            assert one is not None
            assert other is not None
            assert other - one == pytest.approx(10.0)
        assert answers[1].after_s == pytest.approx(10.0, abs=0.5)

    place.play(scenario)


def test_who_comes_back_to_its_slot_is_promised_its_start(place: Place) -> None:
    async def scenario(store: LimitStore) -> None:
        _, answers, _ = await ask(store, [turn(0.8), turn(0.8)])
        slot = answers[1].slot
        assert slot is not None
        too_early = (await ask(store, [turn(0.8, slot)]))[1][0]
        assert (too_early.starts, too_early.slot) == (False, slot)
        await asyncio.sleep(0.65)
        in_time = (await ask(store, [turn(0.8, slot)]))[1][0]
        assert in_time.starts
        assert in_time.after_s <= 0.15

    place.play(scenario)


def test_beyond_the_horizon_nothing_is_reserved(place: Place) -> None:
    async def scenario(store: LimitStore) -> None:
        _, answers, _ = await ask(store, [turn(3600.0), turn(3600.0)])
        assert answers[1].slot is None
        assert answers[1].after_s == pytest.approx(60.0)

    place.play(scenario)


def test_a_changed_rate_holds_at_once(place: Place) -> None:
    async def scenario(store: LimitStore) -> None:
        assert (await ask(store, [turn(30.0), turn(30.0)]))[0] == [True, False]
        await asyncio.sleep(0.02)
        assert (await ask(store, [turn(0.01)]))[0] == [True]

    place.play(scenario)


def test_no_permit_is_taken_by_one_whose_start_is_later(place: Place) -> None:
    async def scenario(store: LimitStore) -> None:
        questions = [permit(number) for number in range(3)]
        for question in questions:
            question.pace_key, question.interval_s = "pace", 30.0
        assert (await ask(store, questions[:1]))[0] == [True]
        await store.free("one", [hold(0)])
        may, answers, _ = await ask(store, questions[1:])
        assert may == [False, False]
        assert [answer.due for answer in answers] == [None, None]  # both wait for their start, none for the permit
        assert (await ask(store, [permit(7)]))[0] == [True]

    place.play(scenario)


def test_one_who_leaves_the_line_lets_the_next_one_be_woken(place: Place) -> None:
    async def scenario(store: LimitStore) -> None:
        later = permit(1)
        later.pace_key, later.interval_s = "pace", 30.0
        await ask(store, [turn(30.0, key="pace"), permit(0), later, permit(2)])
        assert ids(await store.free("one", [hold(0)])) == ["id-1"]
        may, answers, woken = await ask(store, [later])
        assert (may, answers[0].due, ids(woken)) == ([False], None, ["id-2"])

    place.play(scenario)


def test_rates_set_at_run_time_are_found_by_workers(place: Place) -> None:
    board = place.board()
    board.set_rate("a", "10/m")
    board.set_rate("b", "0")
    board.set_rate("c", "1/s")
    board.set_rate("c", None)
    board.close()

    async def scenario(store: LimitStore) -> None:
        assert await store.rates() == {"a": "10/m", "b": "0"}
        assert (await store.renew("one", [], {})).rates == {"a": "10/m", "b": "0"}

    place.play(scenario)


def test_no_rates_set(place: Place) -> None:
    async def scenario(store: LimitStore) -> None:
        assert await store.rates() == {}

    place.play(scenario)


def test_keys_whose_rate_is_over_are_forgotten(place: Place) -> None:
    """Also where nobody asks for permits, and so nobody renews a lease: there may be a key for each user."""

    async def scenario(store: LimitStore) -> None:
        for part in range(8):
            keys = [f"{part}-{number}" for number in range(500)]
            assert all((await ask(store, [turn(0.001, key=key) for key in keys]))[0])
        match place.url.partition(":")[0]:
            case "memory":
                assert len(place.memory._shelf.paces) < 2000
            case "sqlite":
                with sqlite3.connect(place.url.removeprefix("sqlite:///")) as connection:
                    assert connection.execute("SELECT count(*) FROM limits").fetchone()[0] < 1100
                connection.close()
            case _:
                import redis

                with redis.Redis.from_url(place.url) as client:
                    assert all(client.ttl(key) in (-2, 0, 1, 2) for key in client.keys("celeriac:limits:pace:*")[:50])

    place.play(scenario)


# -- the store is away -------------------------------------------------------------------------------------------------


def test_a_store_that_is_away_says_so_and_comes_back(own_redis: PrivateRedis) -> None:
    place = Place(own_redis.url)

    async def scenario(store: LimitStore) -> None:
        assert (await ask(store, [permit(0)]))[0] == [True]
        await asyncio.to_thread(own_redis.kill)
        with pytest.raises(CoordinationUnavailable):
            await ask(store, [permit(1)])
        await asyncio.to_thread(own_redis.start)
        assert (await ask(store, [permit(1)]))[0] == [False]

    place.play(scenario)


@pytest.mark.redis
def test_nobody_there() -> None:
    board = open_rate_board(f"redis://127.0.0.1:{free_port()}/0", SETTINGS)
    with pytest.raises(CoordinationUnavailable):
        board.set_rate("a", "1/s")
