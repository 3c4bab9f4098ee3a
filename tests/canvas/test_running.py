"""Workflows run by a worker, and on the spot: the same values from both."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from celeriac import Celeriac
from celeriac.canvas import Signature, chain, chord, group, signature
from celeriac.contrib.testing.worker import start_worker
from celeriac.exceptions import ChordError, ImproperlyConfigured, NotResumable
from celeriac.result import AsyncResult

WAIT_S = 20
Call = Callable[[Signature], Any]


class Shop:
    """An app with tasks that leave traces."""

    def __init__(self, **settings: Any) -> None:
        self.app = app = Celeriac("shop", set_as_current=False, **settings)
        self.rates: dict[str, int] = {}
        self.calls: list[str] = []

        @app.task
        def add(x: int, y: int) -> int:
            return x + y

        @app.task
        def double(x: int) -> int:
            return 2 * x

        @app.task
        def same(values: Any) -> Any:
            self.calls.append(f"same {values}")
            return values

        @app.task
        def convert(amount: int, currency: str) -> int:
            self.calls.append(f"convert {amount}")
            return amount * self.rates[currency]

        @app.task(bind=True)
        def other(task: Any, by: dict[str, Any]) -> Any:
            return task.replace(signature(by, app=app))

        @app.task(bind=True)
        def adds(task: Any, by: dict[str, Any]) -> str:
            task.add_to_chord(signature(by, app=app))
            return "adds"

        @app.task
        def note(task_id: str) -> None:
            self.calls.append(f"failed {task_id}")

        self.add, self.double, self.same, self.convert = add, double, same, convert
        self.other, self.adds, self.note = other, adds, note


@pytest.fixture(scope="module")
def worked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    path: Path = tmp_path_factory.mktemp("shop") / "shop.db"
    shop = Shop(broker=f"sqlite:///{path}", backend=f"sqlite:///{path}")
    with start_worker(shop.app, perform_ping_check=False):
        yield shop
    shop.app.close()


@pytest.fixture(scope="module")
def on_the_spot() -> Iterator[Shop]:
    shop = Shop(broker="memory://", backend="memory://")
    yield shop
    shop.app.close()


@pytest.fixture(params=["worker", "on the spot"])
def shop_and_call(request: pytest.FixtureRequest, worked: Shop, on_the_spot: Shop) -> tuple[Shop, Call]:
    shop = worked if request.param == "worker" else on_the_spot
    shop.calls.clear()
    shop.rates.clear()

    def call(workflow: Signature) -> Any:
        result = workflow.apply_async() if request.param == "worker" else workflow.apply()
        return result.get(timeout=WAIT_S)

    return shop, call


@pytest.fixture
def shop(shop_and_call: tuple[Shop, Call]) -> Shop:
    return shop_and_call[0]


@pytest.fixture
def call(shop_and_call: tuple[Shop, Call]) -> Call:
    return shop_and_call[1]


def test_chains_groups_and_chords(shop: Shop, call: Call) -> None:
    add, double, same = shop.add, shop.double, shop.same
    assert call(chain(add.s(2, 2), add.s(4), double.s())) == 16
    assert call(group(add.s(n, n) for n in range(4))) == [0, 2, 4, 6]
    assert call(chord((add.s(n, n) for n in range(4)), same.s())) == [0, 2, 4, 6]
    assert call(
        chain(add.s(1, 1), group(double.s(), chain(add.s(10), group(double.s(), add.s(1)), same.s())), same.s())
    ) == [
        4,
        [24, 13],
    ]


def test_many_calls_of_one_task(shop: Shop, call: Call) -> None:
    assert call(shop.double.map([1, 2])) == [2, 4]
    assert call(shop.add.starmap([(1, 1), (2, 2)])) == [2, 4]
    assert call(shop.add.chunks([(n, n) for n in range(5)], 2).group()) == [[0, 2], [4, 6], [8]]


def test_headers_of_none_and_of_one(shop: Shop, call: Call) -> None:
    assert call(chord([], shop.same.s())) == []
    assert call(chord([shop.double.s(1)], shop.same.s())) == [2]
    assert call(chain(group(shop.double.s(1)), shop.same.s())) == [2]
    assert call(chain(shop.double.s(1), chord([], shop.same.s()))) == []


def test_a_failed_member_fails_the_body_and_what_follows(shop: Shop) -> None:
    failing = (
        chord([shop.double.s(1), shop.convert.s(1, "SEK")], shop.same.s().on_error(shop.note.s())) | shop.double.s()
    )
    result = failing.apply() if shop.app.broker.shown_url().startswith("memory") else failing.apply_async()
    with pytest.raises(KeyError, match="SEK"):
        result.get(timeout=WAIT_S)
    with pytest.raises(ChordError, match=r"Dependency .* raised KeyError\('SEK'\)"):
        result.get(timeout=WAIT_S, follow_parents=False)
    body_id = result.parent.id
    until = time.monotonic() + WAIT_S
    while f"failed {body_id}" not in shop.calls:  # the errback is a task, too
        assert time.monotonic() < until
        time.sleep(0.01)
    assert [called for called in shop.calls if called.startswith(("same", "failed"))] == [f"failed {body_id}"]


def test_enough_successes(shop: Shop, call: Call) -> None:
    members = [shop.double.s(1), shop.convert.s(1, "SEK"), shop.double.s(3)]
    assert call(chord(members, shop.same.s(), min_successes=2)) == [2, 6]
    with pytest.raises((ChordError, KeyError)):
        call(chord(members, shop.same.s(), min_successes=3))


# -- replacing and adding ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "value"),
    [
        (lambda shop: shop.add.s(1, 2), 3),
        (lambda shop: chain(shop.add.s(1, 2), shop.double.s()), 6),
        (lambda shop: group(shop.add.s(1, 2), shop.double.s(4)), [3, 8]),
        (lambda shop: group([]), []),
        (lambda shop: chord([shop.add.s(1, 2)], shop.same.s()), [3]),
        (lambda shop: chain(shop.add.s(1, 2), group(shop.double.s(), shop.double.s())), [6, 6]),
        (lambda shop: chord([shop.add.s(1, 2)], group(shop.same.s(), shop.same.s())), [[3], [3]]),
    ],
    ids=["task", "chain", "group", "empty group", "chord", "chain to group", "chord to group"],
)
def test_a_workflow_takes_the_place_of_a_task(
    shop: Shop, call: Call, make: Callable[[Shop], Signature], value: Any
) -> None:
    replaced = shop.other.s(make(shop))
    assert call(replaced) == value
    assert call(chain(replaced, shop.same.s())) == value
    assert call(chord([replaced, shop.double.s(1)], shop.same.s())) == [value, 2]


def test_an_empty_chain_takes_no_place(shop: Shop, call: Call) -> None:
    with pytest.raises(ImproperlyConfigured, match="empty chain"):
        call(shop.other.s(chain()))


def test_what_a_member_adds_comes_after_the_others(shop: Shop, call: Call) -> None:
    assert call(chord([shop.adds.s(shop.add.s(1, 2)), shop.double.s(1)], shop.same.s())) == ["adds", 2, 3]
    several = group(shop.add.s(1, 2), shop.double.s(5))
    assert call(chord([shop.adds.s(several), shop.double.s(1)], shop.same.s())) == ["adds", 2, [3, 10]]


def test_nothing_is_added_where_there_is_no_chord(shop: Shop, call: Call) -> None:
    with pytest.raises(ValueError, match="not a member of any chord"):
        call(shop.adds.s(shop.add.s(1, 2)))


# -- going on after a failure -----------------------------------------------------------------------------------------


def failed_chain(shop: Shop) -> AsyncResult[Any]:
    result: AsyncResult[Any] = chain(
        shop.add.s(2, 2), shop.convert.s("SEK"), shop.same.s(), shop.double.s()
    ).apply_async()
    with pytest.raises(KeyError):
        result.get(timeout=WAIT_S)
    return result


def test_a_chain_goes_on_from_the_step_that_failed(worked: Shop) -> None:
    worked.calls.clear()
    worked.rates.clear()
    result = failed_chain(worked)
    worked.rates["SEK"] = 11
    assert result.resume().get(timeout=WAIT_S) == 88
    assert worked.calls == ["convert 4", "convert 4", "same 44"]
    with pytest.raises(NotResumable, match="it has not failed, it is SUCCESS"):
        result.resume()


def test_a_chain_is_resumed_by_the_id_of_its_last_step(worked: Shop) -> None:
    worked.rates.clear()
    last = worked.app.AsyncResult(failed_chain(worked).id)
    with pytest.raises(KeyError):
        last.get(timeout=WAIT_S)
    worked.rates["SEK"] = 11
    assert last.resume().get(timeout=WAIT_S) == 88


def test_a_step_may_fail_again(worked: Shop) -> None:
    worked.rates.clear()
    result = failed_chain(worked).resume()
    with pytest.raises(KeyError):
        result.get(timeout=WAIT_S)
    worked.rates["SEK"] = 11
    assert result.resume().get(timeout=WAIT_S) == 88


def test_members_of_chords_are_not_resumed(worked: Shop) -> None:
    worked.rates.clear()
    result = chord([chain(worked.add.s(2, 2), worked.convert.s("SEK"))], worked.same.s()).apply_async()
    with pytest.raises((KeyError, ChordError)):
        result.get(timeout=WAIT_S)
    with pytest.raises(ChordError):
        result.get(timeout=WAIT_S, follow_parents=False)
    with pytest.raises(NotResumable, match="not for members of a chord"):
        result.resume()
