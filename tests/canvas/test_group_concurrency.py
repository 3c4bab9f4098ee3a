"""A group of which only so many tasks run at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from celeriac import Celeriac
from celeriac.canvas import chain, group
from celeriac.contrib.testing.worker import start_worker
from celeriac.core.headers import GROUP_LIMIT
from celeriac.exceptions import ImproperlyConfigured

WAIT_S = 30


class Counting:
    """An app whose task counts how many of it run at once."""

    def __init__(self, **settings: Any) -> None:
        self.app = Celeriac("counting", set_as_current=False, **settings)
        self.lock, self.running, self.most = threading.Lock(), 0, 0
        self.pause = threading.Event()

        @self.app.task(executor="thread")
        def count(number: int) -> int:
            with self.lock:
                self.running += 1
                self.most = max(self.most, self.running)
            self.pause.wait(0.02)
            with self.lock:
                self.running -= 1
            return number

        @self.app.task
        def total(numbers: list[int]) -> int:
            return sum(numbers)

        self.count, self.total = count, total


@pytest.fixture(scope="module")
def counting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Counting]:
    path: Path = tmp_path_factory.mktemp("counting") / "counting.db"
    counting = Counting(broker=f"sqlite:///{path}", backend=f"sqlite:///{path}")
    with start_worker(counting.app, perform_ping_check=False, concurrency=8):
        yield counting
    counting.app.close()


def test_no_more_of_a_group_run_at_once(counting: Counting) -> None:
    counting.most = 0
    limited = group((counting.count.s(number) for number in range(12)), max_concurrency=3)
    assert limited.apply_async().get(timeout=WAIT_S) == list(range(12))
    assert counting.most == 3
    counting.most = 0
    assert group(counting.count.s(number) for number in range(12)).apply_async().get(timeout=WAIT_S) == list(range(12))
    assert counting.most > 3


def test_the_header_of_a_chord_is_such_a_group(counting: Counting) -> None:
    counting.most = 0
    header = group(counting.count.s(number) for number in range(8))
    header.set(max_concurrency=2)
    assert (header | counting.total.s()).apply_async().get(timeout=WAIT_S) == 28
    assert counting.most == 2


def test_all_steps_of_a_member_count(counting: Counting) -> None:
    plan = group([chain(counting.count.s(1), counting.count.si(2))], max_concurrency=2)._plan(counting.app, (), {}, {})
    (first,) = plan.calls
    mark = first.options["headers"][GROUP_LIMIT]
    assert mark == [plan.result.id, 2]
    assert first.options["chain"][0]["options"]["headers"][GROUP_LIMIT] == mark


@pytest.mark.parametrize("limit", [0, -1, "3", True, 1.5])
def test_what_is_no_limit(counting: Counting, limit: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="max_concurrency"):
        group([counting.count.s(1)], max_concurrency=limit).apply_async()


def test_a_limited_group_is_not_merged_into_another(counting: Counting) -> None:
    inner = group([counting.count.s(1)], max_concurrency=1)
    with pytest.raises(ValueError, match="put it into a chain"):
        group(inner, counting.count.s(2)).apply_async()
    assert group(chain(inner), counting.count.s(2)).apply_async().get(timeout=WAIT_S) == [[1], 2]


def test_without_a_place_to_count_the_call_is_refused() -> None:
    app = Celeriac("counting", broker="amqp://nowhere", backend="memory://", set_as_current=False)
    with pytest.raises(ImproperlyConfigured, match="max_concurrency of a group needs a place to keep counts"):
        group([app.signature("a"), app.signature("b")], max_concurrency=1).apply_async()
