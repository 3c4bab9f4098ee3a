"""A task that runs twice has to do what it does once; these tell when it does not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from celeriac import Celeriac, Task
from celeriac.testing import assert_idempotent, assert_survives_crash


@pytest.fixture
def app() -> Iterator[Celeriac]:
    with Celeriac("twice", broker="memory://", backend="memory://", set_as_current=False) as app:
        yield app


def test_a_task_that_may_run_twice(app: Celeriac) -> None:
    stock = {"apple": 3}
    seen: list[tuple[str, bool]] = []

    @app.task(bind=True)
    def fill(self: Task[..., Any], sku: str, upto: int) -> int:
        seen.append((self.request.id, self.request.delivery_info["redelivered"]))
        stock[sku] = upto
        return upto

    assert assert_idempotent(fill, "apple", upto=10, state=lambda: stock) == 10
    (first, was_redelivered), (second, is_redelivered) = seen
    assert (first == second, was_redelivered, is_redelivered) == (True, False, True)
    assert assert_idempotent(fill.s("pear", upto=2), state=lambda: stock) == 2


def test_what_a_second_run_changes_is_shown(app: Celeriac) -> None:
    stock = {"apple": 3, "pear": 5}

    @app.task(name="shop.add")
    def add(sku: str, count: int) -> None:
        stock[sku] += count

    with pytest.raises(AssertionError) as caught:
        assert_idempotent(add, "apple", count=1, state=lambda: stock)
    assert str(caught.value).splitlines() == [
        "shop.add('apple', count=1) is not idempotent: run a second time, it changed what it had left:",
        "--- after the first run",
        "+++ after the second run",
        "@@ -1 +1 @@",
        "-{'apple': 4, 'pear': 5}",
        "+{'apple': 5, 'pear': 5}",
    ]


def test_other_results_and_errors(app: Celeriac) -> None:
    ids: list[int] = []

    @app.task
    def create() -> int:
        ids.append(len(ids))
        return ids[-1]

    @app.task
    def once() -> None:
        if ids:
            raise LookupError("it is there already")
        ids.append(1)

    @app.task
    async def fails() -> None:
        raise LookupError("always")

    with pytest.raises(AssertionError, match="returned something else"):
        assert_idempotent(create)
    assert assert_idempotent(create, same_result=False) == 2
    ids.clear()
    with pytest.raises(AssertionError, match=r"run a second time, it raised LookupError\('it is there already'\)"):
        assert_idempotent(once)
    with pytest.raises(LookupError, match="always"):
        assert_idempotent(fails)
    with pytest.raises(TypeError, match="give it no others"):
        assert_idempotent(create.s(), 1)


def test_crashes_between_any_two_lines(app: Celeriac, tmp_path: Path) -> None:
    paid: set[str] = set()
    receipt = tmp_path / "receipt"

    def reset() -> None:
        paid.clear()
        receipt.unlink(missing_ok=True)

    def state() -> Any:
        return sorted(paid), receipt.exists() and receipt.read_text()

    @app.task
    def pay(order: str) -> None:
        paid.add(order)
        receipt.write_text(f"paid {order}")

    @app.task(name="shop.forgetful")
    def forgetful(order: str) -> None:
        if order not in paid:
            paid.add(order)
            receipt.write_text(f"paid {order}")

    assert_survives_crash(pay, "o1", state=state, reset=reset)
    assert_idempotent(forgetful, "o1", state=state)  # which does not find it
    with pytest.raises(AssertionError) as caught:
        assert_survives_crash(forgetful, "o1", state=state, reset=reset)
    assert "shop.forgetful('o1') is not idempotent" in str(caught.value)
    assert "broken off before line" in str(caught.value)
    assert "test_idempotence.py and run again, it left something else than one whole run" in str(caught.value)


def test_crashes_of_a_coroutine(app: Celeriac) -> None:
    book: list[str] = []

    @app.task
    async def note(line: str) -> int:
        book.append(line)
        return len(book)

    with pytest.raises(AssertionError, match=r"\+\['a', 'a'\]"):
        assert_survives_crash(note, "a", state=lambda: book, reset=book.clear)
