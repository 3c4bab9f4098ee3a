"""Stamps and headers on their way through workflows that really run: in a worker, and on the spot."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from celeriac import Celeriac
from celeriac.canvas import GroupStampingVisitor, Signature, StampingVisitor, chain, chord, group, signature
from celeriac.contrib.testing.worker import start_worker
from celeriac.exceptions import TaskRevokedError
from celeriac.torture.servers.service import wait_until

WAIT_S = 20
Stamps = tuple[list[str] | None, dict[str, Any]]
KV: Stamps = (["k"], {"k": "v"})
NONE: Stamps = (None, {})


class Program:
    """An app whose tasks note what they are stamped with, under the key that they are given."""

    def __init__(self, **settings: Any) -> None:
        self.app = app = Celeriac("stamps", set_as_current=False, result_extended=True, **settings)
        self.seen: dict[str, Any] = {}
        self.headers: dict[str, Any] = {}

        def see(request: Any, key: str) -> str:
            self.seen[key] = (request.stamped_headers, request.stamps)
            self.headers[key] = request.headers
            return key

        @app.task(bind=True)
        def note(task: Any, *_args: Any, key: str) -> str:
            return see(task.request, key)

        @app.task(bind=True)
        def fail(task: Any, *_args: Any, key: str) -> None:
            see(task.request, key)
            raise ValueError(key)

        @app.task(bind=True)
        def note_error(task: Any, _task_id: str, *, key: str) -> None:
            see(task.request, key)

        @app.task(bind=True)
        def again(task: Any, key: str, options: dict[str, Any]) -> str:
            see(task.request, f"{key}-{task.request.retries}")
            if task.request.retries < 2:
                raise task.retry(countdown=0, **options)
            return key

        @app.task(bind=True)
        def other(task: Any, key: str, by: dict[str, Any]) -> Any:
            see(task.request, key)
            return task.replace(signature(by, app=app))

        @app.task(bind=True)
        def child(task: Any, key: str) -> Any:
            see(task.request, key)
            return note.delay(key=f"{key}-child").id

        @app.task(bind=True)
        def same_call(task: Any, key: str) -> Any:
            return see(task.request, key), dict(task.signature_from_request().options)

        self.note, self.fail, self.note_error, self.again = note, fail, note_error, again
        self.other, self.child, self.same_call = other, child, same_call


@pytest.fixture(scope="module")
def worked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    path: Path = tmp_path_factory.mktemp("stamps") / "stamps.db"
    program = Program(broker=f"sqlite:///{path}", backend=f"sqlite:///{path}")
    with start_worker(program.app, perform_ping_check=False):
        yield program
    program.app.close()


@pytest.fixture(scope="module")
def on_the_spot() -> Iterator[Program]:
    program = Program(broker="memory://", backend="memory://")
    yield program
    program.app.close()


@pytest.fixture(params=["worker", "on the spot"])
def program(request: pytest.FixtureRequest, worked: Program, on_the_spot: Program) -> Program:
    program = worked if request.param == "worker" else on_the_spot
    program.seen.clear()
    return program


@pytest.fixture
def send(request: pytest.FixtureRequest, program: Program, worked: Program) -> Callable[..., Any]:
    """Send a signature, or run it on the spot; returns its result."""
    return lambda sig, **options: sig.apply_async(**options) if program is worked else sig.apply(**options)


def until_seen(program: Program, **expected: Any) -> None:
    wait_until(lambda: program.seen.keys() >= expected.keys(), f"{list(expected)} have run", deadline_s=WAIT_S)
    assert program.seen == expected


def test_every_step_callback_and_errback_has_them(program: Program, send: Callable[..., Any]) -> None:
    note = program.note
    workflow = chain(
        note.s(key="a").set(link=note.s(key="callback").set(link=note.s(key="its-own"))),
        group(note.s(key="b"), chain(note.s(key="c"), note.s(key="d"))),
        chord([note.s(key="e"), note.s(key="f")], chain(note.s(key="g"), note.s(key="h"))),
        program.fail.s(key="i").set(link_error=program.note_error.s(key="errback")),
        note.s(key="never"),
    ).stamp(k="v")
    with pytest.raises(ValueError, match="i"):
        send(workflow).get(timeout=WAIT_S)
    until_seen(program, **dict.fromkeys((*"abcdefghi", "callback", "its-own", "errback"), KV))


def test_each_has_its_own_and_no_others(program: Program, send: Callable[..., Any]) -> None:
    note = program.note
    workflow = chain(
        note.s(key="a").stamp(k="v"),
        note.s(key="b"),
        note.s(key="c").stamp(j=[1, 2]),
        chord([note.s(key="d").stamp(k="v"), note.s(key="e")], note.s(key="f").stamp(k="w")),
    )
    assert send(workflow).get(timeout=WAIT_S) == "f"
    until_seen(program, a=KV, b=NONE, c=(["j"], {"j": [1, 2]}), d=KV, e=NONE, f=(["k"], {"k": "w"}))


def test_a_visitor_tells_calls_apart(program: Program, send: Callable[..., Any]) -> None:
    class ByKey(StampingVisitor):
        def on_signature(self, sig: Signature, **_headers: Any) -> dict[str, Any]:
            return {"step": sig.kwargs["key"], "headers": {"seen": True}, "stamped_headers": ["step"]}

    assert send(chain(program.note.s(key="a"), program.note.s(key="b")).stamp(ByKey())).get(timeout=WAIT_S) == "b"
    until_seen(program, a=(["step"], {"step": "a"}), b=(["step"], {"step": "b"}))
    assert program.headers["a"] == program.headers["b"] == {"seen": True}


def test_custom_headers_go_with_the_steps_that_have_them(program: Program, send: Callable[..., Any]) -> None:
    note = program.note
    steps = chain(
        note.s(key="a").set(headers={"x": 1}).stamp(k="v"),
        chord([note.s(key="b").set(headers={"x": 2})], note.s(key="c").set(headers={"x": 3})),
        note.s(key="d"),
    )
    assert send(steps, headers={"of": "the whole"}).get(timeout=WAIT_S) == "d"
    assert [program.headers[key] for key in "abcd"] == [{"x": 1, "of": "the whole"}, {"x": 2}, {"x": 3}, {}]


@pytest.mark.parametrize("options", [{}, {"headers": {"x": 1}}], ids=["as it was", "with options"])
def test_a_retry_has_them(program: Program, send: Callable[..., Any], options: dict[str, Any]) -> None:
    assert send(program.again.s("a", options).stamp(k="v")).get(timeout=WAIT_S) == "a"
    until_seen(program, **{f"a-{number}": KV for number in range(3)})


def test_what_takes_a_task_s_place_has_them(program: Program, send: Callable[..., Any]) -> None:
    note = program.note
    by = chord([note.s(key="b").stamp(k="w", j=1), note.s(key="c")], note.s(key="d"))
    assert send(chain(program.other.s("a", by).stamp(k="v"), note.s(key="e"))).get(timeout=WAIT_S) == "e"
    until_seen(program, a=KV, b=(["k", "j"], {"k": "w", "j": 1}), c=KV, d=KV, e=NONE)


def test_what_a_task_sends_has_not(worked: Program) -> None:
    worked.seen.clear()
    worked.child.s("a").stamp(k="v").apply_async().get(timeout=WAIT_S)
    until_seen(worked, **{"a": KV, "a-child": NONE})


def test_a_signature_like_the_running_call_has_them(program: Program, send: Callable[..., Any]) -> None:
    _key, options = send(program.same_call.s("a").stamp(k="v")).get(timeout=WAIT_S)
    assert (options["stamped_headers"], options["k"]) == (["k"], "v")


def test_of_a_call_alone(program: Program, send: Callable[..., Any]) -> None:
    send(program.note.s(key="a"), stamped_headers=["k"], k="v").get(timeout=WAIT_S)
    send(program.note.s(key="b"), headers={"stamped_headers": ["k"], "stamps": {"k": "v"}}).get(timeout=WAIT_S)
    send(program.note.s(key="c").stamp(j=1), stamped_headers=["k"], k="v").get(timeout=WAIT_S)
    until_seen(program, a=KV, b=KV, c=(["j", "k"], {"j": 1, "k": "v"}))


# -- what is done with them -------------------------------------------------------------------------------------------


def test_they_stand_in_extended_results(worked: Program) -> None:
    result = worked.note.s(key="a").stamp(k="v", jobs=[1, 2], result="not the task's").apply_async()
    assert result.get(timeout=WAIT_S) == "a"
    document = worked.app._reader.fetch([result.id])[result.id]
    written = msgspec.json.decode(document)
    assert (written["stamped_headers"], written["k"], written["jobs"]) == (["k", "jobs"], "v", [1, 2])
    assert written["result"] == "a"


def test_they_tell_what_is_revoked(worked: Program) -> None:
    note = worked.note
    worked.seen.clear()
    kept = chain(note.s(key="kept"), note.s(key="kept-too")).stamp(tenant="zebra")
    steps = chain(note.s(key="a"), note.s(key="b").set(countdown=3600), note.s(key="c")).stamp(tenant="acme")
    header = chord([note.s(key="d"), note.s(key="e").set(countdown=3600)], note.s(key="f")).stamp(tenant="acme")
    results = [steps.apply_async(), header.apply_async()]
    wait_until(lambda: worked.seen.keys() >= {"a", "d"}, "a and d have run", deadline_s=WAIT_S)
    worked.app.control.revoke_by_stamped_headers({"tenant": ["acme", "other"]})
    for result in results:
        with pytest.raises(TaskRevokedError):
            result.get(timeout=WAIT_S)
    assert kept.apply_async().get(timeout=WAIT_S) == "kept-too"
    assert worked.seen.keys() == {"a", "d", "kept", "kept-too"}


def test_a_group_is_revoked_by_its_id(worked: Program) -> None:
    worked.seen.clear()
    members = group(worked.note.s(key="a"), worked.note.s(key="b")).stamp(GroupStampingVisitor())
    result = members.apply_async(countdown=3600)
    worked.app.control.revoke_by_stamped_headers({"groups": result.id})
    for member in result.results:
        with pytest.raises(TaskRevokedError):
            member.get(timeout=WAIT_S)
    assert worked.seen == {}
