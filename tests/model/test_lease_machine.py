"""Redis' real scripts, and SQLite, driven at random through the real consumers by a clock of the test's own, against a plain model."""

from __future__ import annotations

import asyncio
import os
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from celeriac import Celeriac
from celeriac.core.effects import ACK, REQUEUE, Dead, Lost, Record, Settlement, Verdict
from celeriac.core.message import Message, Revocation
from celeriac.core.ports import Consumer
from celeriac.core.workflow import ChordOpening, Completed, Part
from tests.model.book import Book, Chord, Place, Settled
from tests.model.redis_clock import AHEAD_S, Clock, RedisPlace
from tests.model.sqlite_place import SqliteBook, SqliteClock, SqlitePlace

QUEUE: Final = "machine"
LEASE_S: Final = 10
LOSS_LIMIT: Final = 3
WORKERS: Final = 3
STEPS: Final = 40
EXAMPLES: Final = int(os.environ.get("LEASE_EXAMPLES", "10"))
"""For a long run: LEASE_EXAMPLES=2000; pytest's option --hypothesis-seed=<number> chooses them."""
BODY: Final = b"[[], {}, {}]"
VERDICTS: Final[dict[str, Verdict]] = {"ack": ACK, "requeue": REQUEUE, "dead": Dead("the machine says so")}

WORKER: Final = st.integers(0, WORKERS - 1)
SOME_S: Final = st.integers(1, 6)


class OneWorker:
    """A consumer, and what its process remembers: also of what it does not hold any more."""

    def __init__(self, number: int, consumer: Consumer) -> None:
        self.owner = f"worker-{number}"
        self.consumer = consumer
        self.leases = 1
        self.got: list[tuple[Any, str]] = []
        """Tag and id of every message that it ever got."""
        self.takes_over_from = 0
        """After it has lost its connection it gives others the time to renew their leases."""
        self.told: set[str] = set()
        """Revocations that it has been told of, or that were over before."""

    @property
    def lease(self) -> str:
        """The name of its lease."""
        return self.owner if self.leases == 1 else f"{self.owner}#{self.leases}"


class LeaseMachine(RuleBasedStateMachine):
    """Three workers, one queue with two priorities, and time that goes on only when the machine says so."""

    def __init__(self, app: Celeriac, place: Place, clock: Clock | SqliteClock, book: Book) -> None:
        super().__init__()
        self.app, self.place, self.clock, self.book = app, place, clock, book
        place.clear()
        self._advance_to(2_000_000_000 + AHEAD_S)
        self.serial = 0
        self.groups = 0
        self.revocations: dict[str, float] = {}
        self.loop = asyncio.new_event_loop()
        self.producer = app.broker.producer()
        self.admin = app.broker.admin()
        self.reader = app.backend.reader()
        self.workers: list[OneWorker] = []
        for number in range(WORKERS):
            consumer = app.broker.consumer()
            worker = OneWorker(number, consumer)
            self.run(consumer.open(worker.owner, [QUEUE]))
            self.book.take_lease(worker.lease)
            self.workers.append(worker)
        # Whoever meets a server that has just started takes nothing over at first.
        self._advance_to(self.book.now + LEASE_S)
        for worker in self.workers:
            self.book.renew(worker.lease)
            assert self.run(worker.consumer.heartbeat())
        for _ in range(2 * WORKERS):
            self._publish(self._message())
        for number in range(WORKERS):
            self._claim(number, 1)

    def run(self, work: Any) -> Any:
        """Run a coroutine to its end."""
        return self.loop.run_until_complete(work)

    def teardown(self) -> None:
        for worker in self.workers:
            self.run(worker.consumer.close())
        self.run(asyncio.sleep(0))
        self.loop.close()
        for side in (self.producer, self.admin, self.reader):
            side.close()

    def _advance_to(self, now: int) -> None:
        self.book.now = now
        self.clock.set(now)

    def _message(self, priority: int = 0, due: float | None = None, **headers: Any) -> Message:
        self.serial += 1
        task_id = f"task-{self.serial}"
        return Message(
            QUEUE,
            {"lang": "py", "task": "t", "id": task_id, "root_id": task_id, **headers},
            BODY,
            {"correlation_id": task_id, "priority": priority},
            not_before=due,
        )

    def _due(self, in_s: int) -> float:
        """Return a time that no other message has, so that the order is known."""
        return self.book.now + in_s + (self.serial + 1) / 4096

    def _publish(self, message: Message) -> None:
        self.producer.publish([message], 10.0)
        self.book.publish(message.id, self._list(message), message.not_before)

    def _list(self, message: Message) -> str:
        return self.place.list_for(message.priority)

    # -- what producers do --------------------------------------------------------------------------------------------

    @rule(priority=st.sampled_from([0, 9]))
    def publish(self, priority: int) -> None:
        self._publish(self._message(priority))

    @rule(in_s=SOME_S)
    def publish_delayed(self, in_s: int) -> None:
        self._publish(self._message(due=self._due(in_s)))

    @rule()
    @precondition(lambda self: self.groups < 2)
    def publish_a_chord(self) -> None:
        self.groups += 1
        group = f"group-{self.groups}"
        self.reader.open_chords([ChordOpening(group, 2, None)])
        self.book.chords[group] = Chord(2)
        for _ in range(2):
            message = self._message(group=group)
            self.book.members[message.id] = group
            self._publish(message)

    @rule(lasts_s=SOME_S)
    @precondition(lambda self: len(self.revocations) < 2)
    def revoke(self, lasts_s: int) -> None:
        task_id = f"revoked-{len(self.revocations)}"
        self.revocations[task_id] = self.book.now + lasts_s
        self.admin.revoke([Revocation(task_id, self.book.now + lasts_s)])

    # -- what workers do ----------------------------------------------------------------------------------------------

    @rule(number=WORKER, limit=st.integers(1, 3))
    def claim(self, number: int, limit: int) -> None:
        self._claim(number, limit)

    def _claim(self, number: int, limit: int) -> None:
        worker = self.workers[number]
        expected = self.book.claim(worker.lease, self.place.lists, limit)
        deliveries = self.run(worker.consumer.claim(limit, 0.0))
        found = [(self.place.list_of(one), one.message.id) for one in deliveries if one.message is not None]
        assert found == expected, "what is next, in the order of priority and time"
        for one, (name, task_id) in zip(deliveries, expected, strict=True):
            assert worker.consumer.holds(one.tag)
            worker.got.append((one.tag, task_id))
            self.book.record(worker.lease, one.tag, name)

    @rule(
        number=WORKER,
        choices=st.lists(
            st.tuples(
                st.integers(0, 7),
                st.sampled_from(["ack", "ack", "requeue", "dead"]),
                st.sampled_from(["nothing", "now", "later"]),
            ),
            min_size=1,
            max_size=3,
        ),
    )
    @precondition(lambda self: any(worker.got for worker in self.workers))
    def settle(self, number: int, choices: list[tuple[int, str, str]]) -> None:
        """Settle some of the last that it got: what it holds, and what it does not any more, in one batch."""
        worker = self.workers[number]
        batch: list[Settlement] = []
        expected: list[Lost | Completed] = []
        for back, verdict, after in choices:
            if back >= len(worker.got):
                continue
            tag, task_id = worker.got[-1 - back]
            if any(one.tag == tag for one in batch):
                continue
            settlement, settled = self._settlement(tag, task_id, verdict, after)
            batch.append(settlement)
            match self.book.settle(worker.lease, settled):
                case "lost":
                    expected.append(Lost(tag))
                case "completed":
                    expected.append(Completed(tag, settled.group or ""))
        answers = self.run(worker.consumer.settle(batch))
        assert answers == expected

    def _settlement(self, tag: str, task_id: str, verdict: str, after: str) -> tuple[Settlement, Settled]:
        settlement, settled = Settlement(tag, VERDICTS[verdict]), Settled(tag, verdict)
        group = self.book.members.get(task_id)
        if verdict != "requeue":
            self.serial += 1
            settled.result = b'{"status": "SUCCESS", "result": %d}' % self.serial
            settlement.records = [Record(task_id, "SUCCESS", settled.result, None)]
            if group is not None:
                settled.group = group
                settlement.parts = [Part(group, task_id, int(task_id.rpartition("-")[2]), b"[%d]" % self.serial)]
                settled.closes = self.book.chords[group].finisher == task_id
                settlement.closes = [group] if settled.closes else []
        if after != "nothing" or settled.closes:
            message = self._message(due=self._due(2) if after == "later" else None)
            settlement.publish = [message]
            settled.follow_up = message.id, self._list(message), message.not_before
        return settlement, settled

    @rule(number=WORKER)
    def heartbeat(self, number: int) -> None:
        worker = self.workers[number]
        kept = self.book.renew(worker.lease)
        assert self.run(worker.consumer.heartbeat()) is kept
        if not kept:
            worker.leases += self.place.fences
            self.book.take_lease(worker.lease)
            assert not (self.place.fences and any(worker.consumer.holds(tag) for tag, _ in worker.got))

    @rule(number=WORKER)
    def reconnect(self, number: int) -> None:
        worker = self.workers[number]
        self.book.renew(worker.lease)
        worker.takes_over_from = self.book.now + LEASE_S * self.place.fences
        self.run(worker.consumer.open(worker.owner, [QUEUE]))

    @rule(number=WORKER)
    def maintain(self, number: int) -> None:
        worker = self.workers[number]
        self.book.move_due()
        if self.book.now >= worker.takes_over_from:
            self.book.take_over(worker.lease)
        assert 0 <= self.run(worker.consumer.maintain()) <= 1

    @rule()
    @precondition(lambda self: self.place.fences and any(0 < end <= self.book.now for end in self.book.leases.values()))
    def begin_to_take_over(self) -> None:
        """Fence what has run out, and die."""
        self.book.fence()
        self.place.fence()

    @rule(number=WORKER)
    def release(self, number: int) -> None:
        worker = self.workers[number]
        self.book.release(worker.lease)
        self.run(worker.consumer.release())

    @rule(number=WORKER)
    @precondition(lambda self: self.revocations)
    def hear_revocations(self, number: int) -> None:
        worker = self.workers[number]
        news = self.revocations.keys() - worker.told
        worker.told |= news
        found = self.run(worker.consumer.revocations())
        assert {one.id for one in found} == {one for one in news if self.revocations[one] > self.book.now}

    # -- time ---------------------------------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([1, 4, LEASE_S, LEASE_S + 1]))
    def wait(self, seconds: int) -> None:
        self._advance_to(self.book.now + seconds)

    # -- what must hold -----------------------------------------------------------------------------------------------

    @invariant()
    def everything_is_where_the_model_has_it(self) -> None:
        assert self.place.seen() == self.book.seen()

    @invariant()
    def every_result_is_that_of_the_one_settlement_with_an_effect(self) -> None:
        stored = self.reader.fetch(list(self.book.members) + [f"task-{n + 1}" for n in range(self.serial)])
        assert stored == self.book.results


def make_app(url: str) -> Celeriac:
    """A program whose results are in the same place."""
    app = Celeriac("machine", broker=url, backend=url, set_as_current=False)
    app.conf.update(worker_lease_s=LEASE_S, task_loss_limit=LOSS_LIMIT)
    return app


def run_machine(app: Celeriac, place: Place, clock: Clock | SqliteClock, book: type[Book]) -> None:
    """Let the machine run, each time from an empty place."""
    run_state_machine_as_test(
        lambda: LeaseMachine(app, place, clock, book(LEASE_S, LOSS_LIMIT + 1)),  # type: ignore[arg-type]
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            derandomize=False,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_redis_agrees_with_the_model(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(redis_url)
    clock.install(monkeypatch)
    with make_app(redis_url) as app, closing(RedisPlace(redis_url, (QUEUE,))) as place, closing(clock):
        run_machine(app, place, clock, Book)


def test_sqlite_agrees_with_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SqliteClock()
    clock.install(monkeypatch)
    file = tmp_path / "queue.db"
    with make_app(f"sqlite:///{file}") as app:
        with closing(app.broker.admin()) as admin:
            admin.declare([QUEUE])  # makes the tables
        with closing(SqlitePlace(file)) as place:
            run_machine(app, place, clock, SqliteBook)
