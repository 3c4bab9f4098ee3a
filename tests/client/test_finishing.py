"""Stuck chords, finished by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from celeriac import Celeriac, chord
from celeriac.client import finishing, workflows
from celeriac.client.chords import opening_of
from celeriac.client.finishing import finish
from celeriac.core import states
from celeriac.core.effects import Join
from celeriac.core.workflow import ChordState
from celeriac.exceptions import ChordError, DecodeError
from celeriac.testing.worker import TestWorker
from celeriac.torture.servers.service import wait_until

GET_S = 30.0


class Program:
    """A program with a worker; members whose number is odd go to a queue that nobody consumes."""

    def __init__(self, broker: str, backend: str) -> None:
        self.app = app = Celeriac("finishing", broker=broker, backend=backend)
        self.told: list[Any] = []

        @app.task(name="add")
        def add(x: int, y: int) -> int:
            return x + y

        @app.task(name="total")
        def total(numbers: list[int]) -> int:
            return sum(numbers)

        @app.task(name="after")
        def after(value: int) -> int:
            return value

        @app.task(name="tell")
        def tell(task_id: str) -> None:
            self.told.append(task_id)

        @app.task(name="explain")
        def explain(request: Any, error: BaseException, traceback: str | None) -> None:
            self.told.append((request.id, request.task, str(error)))

        self.add = add

    def body(self, body_id: str, **options: Any) -> dict[str, Any]:
        return {"task": "total", "args": [], "kwargs": {}, "options": {"task_id": body_id, **options}}

    def start(self, group_id: str, size: int, body: dict[str, Any]) -> None:
        """Send a chord whose odd members never end, and wait until the others have."""
        self.app._reader.open_chords([opening_of(self.app, group_id, size, body, "json")])
        for index in range(size):
            self.add.apply_async(
                (index, 10),
                task_id=f"{group_id}-{index}",
                group_id=group_id,
                group_index=index,
                chord=body,
                queue="nobody" if index % 2 else None,
            )
        wait_until(lambda: (state := self.state(group_id)) and state.ended == (size + 1) // 2, "the others have ended")

    def state(self, group_id: str) -> ChordState | None:
        return next(iter(self.app._reader.chords([group_id])), None)

    def join(self, group_id: str, member_id: str, index: int, value: int) -> list[bool]:
        part = workflows.part_of(self.app, Join(group_id, member_id, index, states.SUCCESS, value), "json")

        async def scenario() -> list[bool]:
            writer = self.app.backend.writer()
            try:
                return await writer.join([part])
            finally:
                await writer.close()

        return asyncio.run(scenario())


@pytest.fixture(scope="module", params=["memory", "sqlite"])
def program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    url = "memory://"
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path_factory.mktemp('finishing') / 'celeriac.db'}"
    program = Program(url, url)
    with TestWorker(program.app):
        yield program
    program.app.close()


def test_members_that_never_ended_fail_the_body(program: Program) -> None:
    errbacks: list[dict[str, Any]] = [
        {"task": name, "args": [], "kwargs": {}, "options": {}} for name in ("tell", "explain")
    ]
    program.start("failing", 4, program.body("failing-body", link_error=errbacks))
    (finished,) = finish(program.app, "failing")
    assert (finished.group_id, finished.body, finished.body_id) == ("failing", "total", "failing-body")
    assert (finished.missing, finished.errbacks) == (2, 2)
    assert finished.error == (
        "Dependency never-ended-3 raised TimeoutError('it had not ended when its workflow was finished by hand'),"
        " and 1 more failed"
    )
    with pytest.raises(ChordError, match="Dependency never-ended-3 raised"):
        program.app.AsyncResult("failing-body").get(timeout=GET_S)
    wait_until(lambda: "failing-body" in program.told, "the errback has run in the worker")
    assert ("failing-body", "total", finished.error) in program.told, "the other kind was called here"
    assert program.state("failing") is None
    assert program.join("failing", "failing-1", 1, 11) == [False], "who ends later changes nothing"
    with pytest.raises(ChordError, match="no workflow 'failing' is open"):
        finish(program.app, "failing")


def test_with_all_members_there_the_body_is_sent(program: Program) -> None:
    program.start("whole", 3, program.body("whole-body"))
    # As left by a worker that died, and whose message was deleted by hand.
    assert program.join("whole", "whole-1", 1, 11) == [True]
    (finished,) = finish(program.app, "whole")
    assert (finished.missing, finished.error, finished.errbacks) == (0, "", 0)
    assert program.app.AsyncResult("whole-body").get(timeout=GET_S) == 10 + 11 + 12
    assert program.state("whole") is None


def test_with_enough_members_the_body_is_sent(program: Program) -> None:
    program.start("enough", 5, program.body("enough-body", celeriac_min_successes=3))
    (finished,) = finish(program.app, "enough")
    assert (finished.missing, finished.error) == (2, "")
    assert program.app.AsyncResult("enough-body").get(timeout=GET_S) == 10 + 12 + 14


def test_an_outer_chord_that_becomes_complete_is_finished_too(program: Program) -> None:
    outer = program.body("outer-body")
    program.app._reader.open_chords([opening_of(program.app, "outer", 1, outer, "json")])
    program.start("inner", 2, program.body("inner-body", group_id="outer", group_index=0, chord=outer))
    inner, finished = finish(program.app, "inner")
    assert (inner.group_id, inner.missing) == ("inner", 1)
    assert (finished.group_id, finished.missing) == ("outer", 0)
    assert finished.error.startswith("Dependency inner-body raised ChordError(")
    for body_id in ("inner-body", "outer-body"):
        with pytest.raises(ChordError):
            program.app.AsyncResult(body_id).get(timeout=GET_S)
    assert program.state("outer") is None


def test_a_nest_of_chords_ends_from_the_inside(program: Program) -> None:
    add, total, after = (program.app.tasks[name] for name in ("add", "total", "after"))
    inner = chord([add.s(1, 1), add.s(2, 2).set(queue="nobody")], total.s()) | after.s()
    outer = chord([add.s(3, 3), inner, add.s(4, 4)], total.s()) | after.s()
    result = outer.delay()

    def open_ones() -> list[ChordState]:
        return sorted(program.app._reader.chords(), key=lambda state: state.size or 0)

    wait_until(lambda: [(one.size, one.ended) for one in open_ones()] == [(2, 1), (3, 2)], "all others have ended")
    stuck = open_ones()
    finished = finish(program.app, stuck[0].group_id)
    assert [one.group_id for one in finished] == [state.group_id for state in stuck]
    assert [(one.body, one.missing) for one in finished] == [("total | after", 1), ("total | after", 0)]
    with pytest.raises(ChordError, match="never-ended-2"):
        result.get(timeout=GET_S)
    assert program.app._reader.chords() == []


def test_what_was_to_follow_the_body_ends_with_it(program: Program) -> None:
    step = {"task": "after", "args": [], "kwargs": {}, "options": {"task_id": "after-body"}}
    steps = {"tasks": [program.body("chained-body"), step]}
    program.start(
        "chained", 2, {"task": "celery.chain", "args": [], "kwargs": steps, "options": {}, "subtask_type": "chain"}
    )
    (finished,) = finish(program.app, "chained")
    assert (finished.body, finished.body_id) == ("total | after", "after-body")
    for task_id in ("chained-body", "after-body"):
        with pytest.raises(ChordError, match="Dependency"):
            program.app.AsyncResult(task_id).get(timeout=GET_S)


def test_a_member_that_ends_while_it_is_given_up_makes_it_whole(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then its worker finishes the chord, and we have changed nothing."""
    program.start("late", 2, program.body("late-body"))
    open_chord = finishing._open_chord

    def ends_meanwhile(app: Celeriac, group_id: str) -> ChordState:
        state = open_chord(app, group_id)
        assert program.join("late", "late-1", 1, 11) == [True]
        return state

    monkeypatch.setattr(finishing, "_open_chord", ends_meanwhile)
    with pytest.raises(ChordError, match="have just ended: their worker finishes it"):
        finish(program.app, "late")
    assert program.join("late", "late-1", 1, 11) == [True]
    assert len(program.app._reader.collect("late").parts) == 2
    program.app._reader.close_chords(["late"])


def test_a_chord_whose_size_is_forgotten_has_at_least_one_missing(program: Program) -> None:
    assert program.join("sizeless", "sizeless-0", 0, 1) == [False]
    with pytest.raises(DecodeError, match="the body of chord sizeless is not known"):
        finish(program.app, "sizeless")
    assert (state := program.state("sizeless")) is not None
    assert state.ended == 1, "nothing was changed"
    body = workflows.part_of(
        program.app,
        Join("sizeless", "sizeless-1", 1, states.SUCCESS, 2, program.body("sizeless-body")),
        "json",
    )

    async def scenario() -> None:
        writer = program.app.backend.writer()
        await writer.join([body])
        await writer.close()

    asyncio.run(scenario())
    (finished,) = finish(program.app, "sizeless")
    assert finished.missing == 1
    assert program.app.AsyncResult("sizeless-body").get(timeout=GET_S, propagate=False).args
