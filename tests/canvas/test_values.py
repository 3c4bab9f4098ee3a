"""What workflows give, run by a worker: what real Celery 5.7 gives, except where that is plainly a mistake.

The tasks a to h return a text of what they were given: `b(a(),2)` is b, called with the value of a and 2.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from celeriac import Celeriac, canvas
from celeriac.client import current
from celeriac.contrib.testing.worker import start_worker

DEADLINE_S = 30

AS_CELERY: dict[str, Any] = {
    # -- chains
    "chain(a.s())": "a()",
    "chain([a.s(), b.s(), c.s()])": "c(b(a()))",
    "chain(a.s(), chain(b.s(), c.s()), d.s())": "d(c(b(a())))",
    "chain(chain(chain(a.s())))": "a()",
    "chain(a.s(), chain())": "a()",
    "chain(a.si(1), b.si(2), c.s(3))": "c(b(2),3)",
    "chain(a.s(1), b.s(2, k=3), c.s(k=4))": "c(b(a(1),2,k=3),k=4)",
    "chain(none.s(), b.s())": "b(None)",
    "chain(lst.s(1, 2), b.s())": "b([1,2])",
    "chain(quiet.s(1), b.s())": "b(quiet(1))",
    "chain(retried.s(1), b.s())": "b(retried(1))",
    "chain(a.s(), replaced.s(sig=dict(chain(b.s(), c.s()))), d.s())": "d(c(b()))",
    # -- groups
    "group()": [],
    "group(a.s())": ["a()"],
    "group(a.s(), b.s())": ["a()", "b()"],
    "group(a.s(), group(b.s(), c.s()))": ["a()", "b()", "c()"],
    "group(group(group(a.s())))": ["a()"],
    "group(group(), chain(), a.s())": ["a()"],
    "group(a.s() | b.s(), c.s())": ["b(a())", "c()"],
    "group(chain(a.s(), group(b.s(), c.s())), d.s())": [["b(a())", "c(a())"], "d()"],
    "group(chain(a.s(), group(b.s(), c.s()), d.s()), e.s())": ["d([b(a()),c(a())])", "e()"],
    "group(chain(group(a.s(), b.s())), d.s())": [["a()", "b()"], "d()"],
    "group(chord([a.s(), b.s()], group(c.s(), d.s())), e.s())": [["c([a(),b()])", "d([a(),b()])"], "e()"],
    "group(chord([], c.s()), d.s())": ["c([])", "d()"],
    "group(chain(a.s(), group(b.s(), chain(c.s(), group(d.s(), e.s())))), f.s())": [
        ["b(a())", ["d(c(a()))", "e(c(a()))"]],
        "f()",
    ],
    "a.s() | group(b.s(), c.s())": ["b(a())", "c(a())"],
    "chain(a.s(), b.s(), group(c.s(), d.s()))": ["c(b(a()))", "d(b(a()))"],
    "chain(a.s(), group(b.si(1), c.s()))": ["b(1)", "c(a())"],
    # -- groups and what follows
    "group(a.s(), b.s()) | c.s()": "c([a(),b()])",
    "group(a.s()) | b.s()": "b([a()])",
    "group([]) | b.s()": "b([])",
    "group(a.s(), b.s()) | group(c.s(), d.s())": ["c([a(),b()])", "d([a(),b()])"],
    "group(a.s()) | group(b.s())": ["b([a()])"],
    "chain(group(a.s(), b.s()), group(c.s(), d.s()), e.s())": "e([c([a(),b()]),d([a(),b()])])",
    "chain(a.s(), group(b.s(), c.s()), d.s(), e.s())": "e(d([b(a()),c(a())]))",
    "chain(a.s(), group(b.s(), c.s()), group(d.s(), e.s()), f.s())": "f([d([b(a()),c(a())]),e([b(a()),c(a())])])",
    "chain(a.s(), group(b.s(), c.s()).set(immutable=True), d.s())": "d([b(),c()])",
    "group(a.si(1), b.si(2)) | c.si(3)": "c(3)",
    # -- chords
    "chord([a.s(), b.s()], c.s(1, k=2))": "c([a(),b()],1,k=2)",
    "chord(group(a.s(), b.s()), c.s())": "c([a(),b()])",
    "chord((x for x in [a.s(), b.s()]), c.s())": "c([a(),b()])",
    "chord([a.s()], b.s())": "b([a()])",
    "chord(a.s(), b.s())": "b([a()])",
    "chord([], b.s())": "b([])",
    "chord([a.s()], c.si(5))": "c(5)",
    "chain(chord([a.s(), b.s()], c.s()), d.s(), e.s())": "e(d(c([a(),b()])))",
    "chain(a.s(), chord([b.s(), c.s()], d.s()), e.s())": "e(d([b(a()),c(a())]))",
    "chain(a.s(), chord([], d.s()), e.s())": "e(d([]))",
    "chord([a.s(), b.s()], c.s()) | chord([d.s(), e.s()], f.s())": "f([d(c([a(),b()])),e(c([a(),b()]))])",
    "chord([a.s(), b.s()], c.s()) | group(d.s(), e.s())": ["d(c([a(),b()]))", "e(c([a(),b()]))"],
    "chord([a.s(), b.s()], chain(c.s(), group(d.s(), e.s()))) | f.s()": "f([d(c([a(),b()])),e(c([a(),b()]))])",
    "chain(f.s(), chord([a.s(), b.s()], group(c.s(), d.s())), e.s())": "e([c([a(f()),b(f())]),d([a(f()),b(f())])])",
    "chord([chain(a.s(), b.s()), c.s()], d.s())": "d([b(a()),c()])",
    "chord([chain(a.s(), group(b.s(), c.s())), d.s()], e.s())": "e([[b(a()),c(a())],d()])",
    "chord([chain(group(a.s(), b.s())), d.s()], e.s())": "e([[a(),b()],d()])",
    "chord([chain(group(a.s(), b.s()), group(c.s(), d.s())), e.s()], f.s())": "f([[c([a(),b()]),d([a(),b()])],e()])",
    "chord([chord([chord([a.s(), b.s()], c.s()), d.s()], e.s()), f.s()], g.s())": "g([e([c([a(),b()]),d()]),f()])",
    "chord([chord([a.s(), b.s()], group(c.s(), d.s())), e.s()], f.s())": "f([[c([a(),b()]),d([a(),b()])],e()])",
    "chord([chord([a.s(), b.s()], chain(c.s(), d.s())), e.s()], f.s())": "f([d(c([a(),b()])),e()])",
    "chord([chain(a.s(), group(b.s(), chain(c.s(), group(d.s(), e.s())))), f.s()], g.s())": (
        "g([[b(a()),[d(c(a())),e(c(a()))]],f()])"
    ),
    "chord([a.s(), b.s()], chord([c.s(), d.s()], e.s()))": "e([c([a(),b()]),d([a(),b()])])",
    "chord([], chord([c.s(), d.s()], e.s()))": "e([c([]),d([])])",
    "chord([a.s(), b.s()], group([]))": [],
    "chord([quiet.s(1), none.s(), retried.s(2)], c.s())": "c([quiet(1),None,retried(2)])",
    "chord([replaced.s(sig=dict(group(b.s(), c.s()))), a.s()], g.s())": "g([[b(),c()],a()])",
    # -- maps
    "a.map([1, 2])": ["a(1)", "a(2)"],
    "a.map([])": [],
    "add.starmap([(1, 2), (3, 4)])": [3, 7],
    "add.chunks(zip(range(5), range(5)), 2)": [[0, 2], [4, 6], [8]],
    "add.chunks(zip(range(5), range(5)), 2).group() | b.s()": "b([[0,2],[4,6],[8]])",
    "chain(lst.s(1, 2), a.map([9]), b.s())": "b([a(9)])",
    "chord([a.map([1, 2]), b.s()], c.s())": "c([[a(1),a(2)],b()])",
}

DIFFERENT: dict[str, tuple[Any, Any]] = {
    # What ours gives, and what Celery 5.7 gives.
    "chord([group(a.s(), b.s()), c.s()], d.s())": ("d([a(),b(),c()])", "d([b(),a(),c()])"),
    "chord([group(a.s(), group(b.s(), c.s())), group(d.s())], e.s())": ("e([a(),b(),c(),d()])", "e([c(),b(),a(),d()])"),
    "chain(a.s(), group(b.s(), group(c.s(), d.s())))": (["b(a())", "c(a())", "d(a())"], ["b(a())", "d(a())", "c(a())"]),
    "chain(group(a.s()), b.s())": ("b([a()])", "b(a())"),
    "chain(a.s(), group(b.s()), c.s())": ("c([b(a())])", "c(b(a()))"),
    "chain(a.s(), group(b.s()))": (["b(a())"], "b(a())"),
    "chord([chain(a.s(), group(b.s())), d.s()], e.s())": ("e([[b(a())],d()])", "e([b(a()),d()])"),
    "chain(group([]), b.s())": ("b([])", "b()"),
    "chain(a.s(), group([]), b.s())": ("b([])", "b(a())"),
    "chain(a.s(), group([]))": ([], "a()"),
    "group(chain(a.s(), group([])), b.s())": ([[], "b()"], ["a()", "b()"]),
    "chord([a.s(), b.s()], chain(group(c.s(), d.s())))": (["c([a(),b()])", "d([a(),b()])"], ["c()", "d()"]),
    "chord(chain(a.s(), b.s()), c.s())": ("c([b(a())])", "c([a(),b()])"),
    "group(c.chunks([[1], [2], [3]], 2), a.s())": ([[["c(1)", "c(2)"], ["c(3)"]], "a()"], "EncodeError"),
    "chain(add.chunks([(1, 2), (3, 4), (5, 6)], 2), b.s())": ("b([[3,7],[11]])", "EncodeError"),
    "replaced.s(sig=dict(chord([b.s()], group(d.s(), e.s()))))": (["d([b()])", "e([b()])"], "never ends"),
}


def text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{','.join(map(text, value))}]"
    return value if isinstance(value, str) else repr(value)


def call(name: str, args: Any, kwargs: Any) -> str:
    return (
        f"{name}({','.join([text(arg) for arg in args] + [f'{key}={text(value)}' for key, value in kwargs.items()])})"
    )


@pytest.fixture(scope="module")
def tasks() -> Iterator[dict[str, Any]]:
    """Return the names of the expressions: tasks, and Celery's words; a worker runs meanwhile."""
    with current.kept(), Celeriac("canvas", broker="memory://", backend="memory://") as app:

        def define(name: str, **options: Any) -> None:
            app.task(name=name, **options)(lambda *args, **kwargs: call(name, args, kwargs))

        for letter in "abcdefgh":
            define(letter)
        define("quiet", ignore_result=True)
        app.task(name="none")(none)
        app.task(name="lst")(lst)
        app.task(name="add")(add)
        app.task(name="aadd")(aadd)
        app.task(name="retried", bind=True, max_retries=2)(retried)
        app.task(name="replaced", bind=True)(replaced)
        with start_worker(app, concurrency=2, perform_ping_check=False):
            yield {"app": app, **app.tasks, **{name: getattr(canvas, name) for name in canvas.__all__}}


def none() -> None: ...


def lst(*args: Any) -> list[Any]:
    return list(args)


def add(x: int, y: int) -> int:
    return x + y


async def aadd(x: int, y: int) -> int:
    await asyncio.sleep(0)
    return x + y


def retried(self: Any, *args: Any) -> str:
    if not self.request.retries:
        raise self.retry(countdown=0)
    return call("retried", args, {})


def replaced(self: Any, *_args: Any, sig: Any) -> Any:
    return self.replace(self.app.signature(sig))


def given(expression: str, tasks: dict[str, Any]) -> Any:
    return eval(expression, dict(tasks)).apply_async().get(timeout=DEADLINE_S)


@pytest.mark.parametrize(("expression", "value"), AS_CELERY.items(), ids=AS_CELERY.keys())
def test_as_celery(tasks: dict[str, Any], expression: str, value: Any) -> None:
    assert given(expression, tasks) == value


@pytest.mark.parametrize(("expression", "values"), DIFFERENT.items(), ids=DIFFERENT.keys())
def test_not_as_celery(tasks: dict[str, Any], expression: str, values: tuple[Any, Any]) -> None:
    ours, theirs = values
    assert given(expression, tasks) == ours
    assert ours != theirs


def test_arguments_of_the_call(tasks: dict[str, Any]) -> None:
    a, b, c = (tasks[name].s for name in "abc")
    assert canvas.chain(a(1), b(2)).delay(7, k=8).get(timeout=DEADLINE_S) == "b(a(7,1,k=8),2)"
    assert canvas.group(a(), b() | c()).delay(7).get(timeout=DEADLINE_S) == ["a(7)", "c(b(7))"]
    assert canvas.chord([a(), b()], c(3)).delay(7).get(timeout=DEADLINE_S) == "c([a(7),b(7)],3)"


def test_a_header_of_a_thousand(tasks: dict[str, Any]) -> None:
    members = [tasks["add"].s(number, 0) for number in range(1000)]
    assert canvas.chord(members, tasks["lst"].s()).apply_async().get(timeout=DEADLINE_S) == [list(range(1000))]


def test_a_chain_of_three_hundred(tasks: dict[str, Any]) -> None:
    steps = [tasks["add"].s(1) for _ in range(299)]
    assert canvas.chain(tasks["add"].s(0, 1), *steps).apply_async().get(timeout=DEADLINE_S) == 300


def test_sixty_chords_in_a_row(tasks: dict[str, Any]) -> None:
    lst, add = tasks["lst"], tasks["add"]
    steps = [
        step
        for _ in range(60)
        for step in (canvas.group(add.s(1), add.si(1, 1)), lst.s(), tasks["a"].si(), add.si(2, 3))
    ]
    assert canvas.chain(add.s(0, 1), *steps).apply_async().get(timeout=DEADLINE_S) == 5


def test_maps_of_coroutines(tasks: dict[str, Any]) -> None:
    aadd = tasks["aadd"]
    assert aadd.starmap([(1, 2), (3, 4)]).apply_async().get(timeout=DEADLINE_S) == [3, 7]
    assert aadd.chunks([(1, 2), (3, 4)], 1).apply_async().get(timeout=DEADLINE_S) == [[3], [7]]
    assert asyncio.run(_called_here(aadd)) == [3, 7]


async def _called_here(task: Any) -> Any:
    return await task.starmap([(1, 2), (3, 4)])()


def test_celery_s_own_chunks_are_done_in_place(tasks: dict[str, Any]) -> None:
    """A Celery client that has them as a step sends this call."""
    app = tasks["app"]
    sent = app.send_task("celery.chunks", kwargs={"task": tasks["add"].s(), "it": [[1, 2], [3, 4], [5, 6]], "n": 2})
    assert sent.get(timeout=DEADLINE_S) == [[3, 7], [11]]


def test_workers_know_celery_s_tasks_and_don_t_list_them(tasks: dict[str, Any]) -> None:
    known = tasks["app"].tasks
    names = {"celery.map", "celery.starmap", "celery.chunks", "celery.accumulate"}
    for name in sorted(names):
        assert name in known
        assert known[name].name == name
        assert known[name] is known.get(name)
    assert names.isdisjoint(known)
    assert "celery.nothing" not in known
    assert known["celery.accumulate"](1, 2) == (1, 2)
    assert known["celery.accumulate"]([1, 2], index=0) == [1, 2]


def test_a_failed_member_fails_the_whole(tasks: dict[str, Any]) -> None:
    a, add, lst = tasks["a"], tasks["add"], tasks["lst"]
    workflow = canvas.chord([a.s(), canvas.chain(a.s(), canvas.group(add.si(1, "x"), a.s()))], lst.s()) | a.s()
    with pytest.raises(TypeError, match="unsupported operand"):
        workflow.apply_async().get(timeout=DEADLINE_S)
