"""The types of results that are read together. Checked by mypy, never run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any, assert_type

from celeriac import AsyncResult, Celeriac
from celeriac.result import (
    EagerResult,
    GroupResult,
    Progress,
    ResultBase,
    ResultSet,
    allow_join_result,
    result_from_tuple,
)

app = Celeriac("shop", broker="redis://localhost/0", backend="redis://localhost/1")


@app.task
def add(x: int, y: int = 2) -> int:
    return x + y


def read() -> None:
    group = GroupResult("g", [add.delay(1), add.delay(2)])
    assert_type(group, GroupResult[int])
    assert_type(group.get(), list[int])
    assert_type(group.get(timeout=3), list[int])
    assert_type(group.join(3, interval=0.1), list[int])
    assert_type(group.get(propagate=False), list[int | BaseException])
    assert_type(group.results, list[AsyncResult[int]])
    assert_type(group[0].get(), int)
    assert_type(group[1:], list[AsyncResult[int]])
    assert_type([member.state for member in group], list[str])
    assert_type(group.as_completed(timeout=3), Iterator[AsyncResult[int]])
    assert_type(list(group.iterate()), list[int])
    assert_type(group.progress(), Progress)
    assert_type(group.progress().done, int)
    assert_type(group.save(), GroupResult[int])
    assert_type(GroupResult.restore("g"), GroupResult[Any] | None)
    assert_type(app.GroupResult.restore("g"), GroupResult[Any] | None)
    assert_type(app.GroupResult("g", [add.delay(1)]), GroupResult[int])
    assert_type(app.ResultSet([add.delay(1)]), ResultSet[int])
    assert_type(ResultSet([add.apply((1,))]).get(), list[int])
    assert_type(add.apply((1,)), EagerResult[int])
    assert_type(result_from_tuple(group.as_tuple()), ResultBase[Any])
    nested: GroupResult[Any] = GroupResult("n", [group, add.delay(1)])
    assert_type(nested.get(), list[Any])
    with allow_join_result():
        group.get()


def watch() -> None:
    add.delay(1).then(lambda result: print(result.get() + 1), on_error=print)
    assert_type(add.delay(1).root, ResultBase[Any])
    assert_type(len(add.delay(1).graph), int)


async def await_them() -> None:
    group = GroupResult("g", [add.delay(1)])
    assert_type(await group, list[int])
    assert_type(await group.aget(timeout=3), list[int])
    assert_type(await group.ajoin(), list[int])
    assert_type(aiter(group), AsyncIterator[AsyncResult[int]])
    async for member in group:
        assert_type(await member, int)
