"""Keys of unique tasks in a worker: shortened before the end is settled, given back after it, renewed meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from msgspec import Struct

from celeriac import Celeriac
from celeriac.client.unique import unique_store
from celeriac.coordination.unique_memory import MemoryUniqueStore
from celeriac.core.effects import ACK, REQUEUE, Dead, Settlement, Verdict
from celeriac.core.message import Delivery, Message
from celeriac.core.policy import Policy
from celeriac.core.unique import UNIQUE, Answer, Mark, Take
from celeriac.exceptions import CoordinationUnavailable
from celeriac.worker.entry import Entry, run_key
from celeriac.worker.unique import UniqueKeeper
from tests.client.recording import RecordingBackend, RecordingBroker

MARK = Mark("k", "done", "drop", 86_400.0)


class Pending(Struct):
    settlement: Settlement
    key: tuple[str, int] | None
    newer_tags: list[Any] = []
    held: Any = None


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def app() -> Iterator[Celeriac]:
    with Celeriac(
        "shop", broker=RecordingBroker(), backend=RecordingBackend(), coordination_url="memory://", worker_lease_s=10
    ) as app:
        app.time_source = Clock()
        yield app


def message(task_id: str, **headers: Any) -> Message:
    return Message("celery", {"id": task_id, "task": "t", **headers}, b"")


def entry(task_id: str) -> Entry:
    sent = message(task_id)
    return Entry(
        delivery=Delivery(task_id, "celery", sent),
        message=sent,
        key=run_key(sent),
        kind="process",
        policy=Policy(),
        crashes=0,
        held_since=0,
    )


def key_of(task_id: str) -> tuple[str, int]:
    """What the worker knows a run by."""
    return entry(task_id).key


def free_after(app: Celeriac) -> float | None:
    """Seconds until the key is free for another; None: in an hour it is not."""
    store = unique_store(app, "t")
    assert isinstance(store, MemoryUniqueStore)
    lock = store._locks.get("k")
    if lock is None:
        return 0.0
    left_s = lock.until - app.time_source.time()
    return left_s if left_s < 3600 else None


def run(app: Celeriac, test: Callable[[UniqueKeeper], Awaitable[None]]) -> None:
    """Run a test with a keeper that has asked about the call `a`, which holds the key."""

    async def main() -> None:
        unique_store(app, "t").apply([Take("k", "a", 86_400, 0, "drop")], 1)
        keeper = UniqueKeeper(app, {})
        loops = [asyncio.create_task(keeper.answer()), asyncio.create_task(keeper.keep())]
        judged: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        keeper.claim(entry("a"), MARK)
        keeper.ask(entry("a"), lambda _entry, answer: judged.set_result(answer))
        assert await judged == Answer("run")
        await test(keeper)
        for loop in loops:
            loop.cancel()
        await asyncio.gather(*loops, return_exceptions=True)
        keeper.close()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("verdict", "publish", "ends"),
    [
        (ACK, [], True),
        (ACK, [message("a child")], True),
        (Dead("parked"), [], True),
        (ACK, [message("a", retries=1)], False),
        (REQUEUE, [], False),
    ],
)
def test_a_key_is_shortened_and_then_given_back(
    app: Celeriac, verdict: Verdict, publish: list[Message], ends: bool
) -> None:
    async def test(keeper: UniqueKeeper) -> None:
        batch = [Pending(Settlement("a", verdict, publish), key_of("a")), Pending(Settlement("b", ACK), key_of("b"))]
        await keeper.shorten(batch)
        # A worker that is killed here leaves a key behind that is free after three leases.
        assert free_after(app) == (30.0 if ends else None)
        keeper.settled(batch, set())
        await keeper.flush()
        assert free_after(app) == (0.0 if ends else None)
        assert not keeper.held

    run(app, test)


def test_what_takes_the_place_of_a_call_goes_on_holding_its_key(app: Celeriac) -> None:
    async def test(keeper: UniqueKeeper) -> None:
        replacement = message("a")
        await keeper.shorten([Pending(Settlement("a", ACK, [replacement]), key_of("a"))])
        assert replacement.headers[UNIQUE]["key"] == "k"

    run(app, test)


def test_what_is_not_ours_any_more_is_not_given_back(app: Celeriac) -> None:
    async def test(keeper: UniqueKeeper) -> None:
        batch = [Pending(Settlement("a", ACK, [message("a", retries=1)]), key_of("a"))]
        await keeper.shorten(batch)
        keeper.settled(batch, {"a"})
        await keeper.flush()
        assert free_after(app) is None
        assert not keeper.held

    run(app, test)


def test_a_message_that_is_acknowledged_early_has_not_ended(app: Celeriac) -> None:
    async def test(keeper: UniqueKeeper) -> None:
        batch = [Pending(Settlement("a", ACK), key_of("a"))]
        keeper.begun_early(key_of("a"))
        await keeper.shorten(batch)
        keeper.settled(batch, set())
        await keeper.flush()
        assert free_after(app) == 30.0  # nothing brings it back, so its worker keeps it alive
        keeper.ended_early(key_of("a"), [])
        await keeper.flush()
        assert free_after(app) == 0.0

    run(app, test)


def test_a_lost_lease_leaves_the_keys_of_what_was_acknowledged_early(app: Celeriac) -> None:
    async def test(keeper: UniqueKeeper) -> None:
        keeper.drop_all([key_of("a")])
        keeper.ended_early(key_of("a"), [])
        await keeper.flush()
        assert free_after(app) == 0.0
        keeper.claim(entry("c"), MARK)
        keeper.drop_all()
        assert not keeper.held

    run(app, test)


def test_a_store_that_is_away_gets_the_keys_back_later(app: Celeriac, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("celeriac.worker.unique.AGAIN_S", 0.01)
    away = True
    store = unique_store(app, "t")
    apply = store.apply

    def apply_or_fail(*args: Any) -> list[Answer]:
        if away:
            raise CoordinationUnavailable("away")
        return apply(*args)

    async def test(keeper: UniqueKeeper) -> None:
        nonlocal away
        monkeypatch.setattr(store, "apply", apply_or_fail)
        batch = [Pending(Settlement("a", ACK), key_of("a"))]
        await keeper.shorten(batch)
        keeper.settled(batch, set())
        judged: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        keeper.claim(entry("c"), MARK)
        keeper.ask(entry("c"), lambda _entry, answer: judged.set_result(answer))
        assert await judged == Answer("run")  # a task waits for no store
        assert free_after(app) is None
        away = False
        await keeper.flush()
        assert free_after(app) == 0.0

    run(app, test)


def test_what_follows_may_come_before_its_parent_is_known_to_be_settled(app: Celeriac) -> None:
    """What takes the place of a call by `self.replace` has its id, and is the same run to this worker."""

    async def test(keeper: UniqueKeeper) -> None:
        batch = [Pending(Settlement("a", ACK, [message("a")]), key_of("a"))]
        await keeper.shorten(batch)
        judged: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        keeper.claim(entry("a"), MARK)
        keeper.ask(entry("a"), lambda _entry, answer: judged.set_result(answer))
        keeper.settled(batch, set())
        assert await judged == Answer("run")
        keeper.forget(key_of("a"))
        assert not keeper.held

    run(app, test)


def test_a_message_that_is_there_twice_is_judged_twice(app: Celeriac) -> None:
    """Sent again under the same id, as after `PublishTimeout`: whoever takes both on makes one of them."""

    async def test(keeper: UniqueKeeper) -> None:
        answers: list[tuple[Entry, Answer]] = []
        both = asyncio.Event()

        def judge(one: Entry, answer: Answer) -> None:
            keeper.forget(one.key)  # as for one that has to wait: it must not take what is known of the other with it
            answers.append((one, answer))
            if len(answers) == 2:
                both.set()

        one, other = entry("a"), entry("a")
        for each in (one, other):
            keeper.claim(each, MARK)
            keeper.ask(each, judge)
        await both.wait()
        assert [each for each, _ in answers] == [one, other]
        assert {answer for _, answer in answers} == {Answer("run")}
        assert not keeper.held

    run(app, test)


def test_too_many_questions_stop_the_intake(app: Celeriac, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("celeriac.worker.unique.ASKED_MAX", 2)
    heard = []

    async def test(keeper: UniqueKeeper) -> None:
        for name in "bc":
            assert keeper.room.is_set()
            keeper.claim(entry(name), MARK)
            keeper.ask(entry(name), lambda _entry, answer: heard.append(answer))
        assert not keeper.room.is_set()
        await keeper.room.wait()

    run(app, test)


def test_what_a_store_cannot_even_be_asked_stops_nobody(app: Celeriac, monkeypatch: pytest.MonkeyPatch) -> None:
    store = unique_store(app, "t")

    async def test(keeper: UniqueKeeper) -> None:
        with monkeypatch.context() as patch:

            def fail(*_: Any) -> list[Answer]:
                raise UnicodeEncodeError("utf-8", "", 0, 1, "a defect")

            patch.setattr(store, "apply", fail)
            judged: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
            keeper.claim(entry("c"), MARK)
            keeper.ask(entry("c"), lambda _entry, answer: judged.set_result(answer))
            assert await judged == Answer("run")
            keeper.ended_early(key_of("c"), [])
            await keeper.flush()
        keeper.ended_early(key_of("a"), [])
        await keeper.flush()
        assert free_after(app) == 0.0

    run(app, test)


def test_only_what_is_ours_is_renewed(app: Celeriac, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        entries = {key_of("a"): entry("a")}
        keeper = UniqueKeeper(app, entries)
        monkeypatch.setattr(keeper, "_hold_s", 0.03)
        loops = [asyncio.create_task(keeper.answer()), asyncio.create_task(keeper.keep())]
        judged = asyncio.Event()
        keeper.claim(entry("a"), MARK)
        keeper.ask(entry("a"), lambda _entry, _answer: judged.set())
        await judged.wait()
        app.time_source.now += 1000  # type: ignore[attr-defined]  # the store's hold runs out
        while (free_after(app) or 0) <= 0:  # noqa: ASYNC110 - the keeper's own loop is what is waited for
            await asyncio.sleep(0.005)
        entries.clear()
        await asyncio.sleep(0.02)  # what was on its way has been made
        app.time_source.now += 1000  # type: ignore[attr-defined]
        await asyncio.sleep(0.05)
        assert (free_after(app) or 0) <= 0
        for loop in loops:
            loop.cancel()
        await asyncio.gather(*loops, return_exceptions=True)
        keeper.close()

    asyncio.run(main())
