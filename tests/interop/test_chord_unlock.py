"""Chords of Celery's senders on a backend that can't count, where a task of its own is sent to join them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import celery
import pytest

from celeriac import Celeriac
from celeriac.contrib.testing.worker import start_worker

WAIT_S = 30


@pytest.fixture
def celerys(redis_url: str, tmp_path: Path) -> Iterator[Any]:
    """An app of Celery's whose tasks are run by a worker of ours; results are in a database."""
    broker, backend = redis_url, f"db+sqlite:///{tmp_path / 'results.db'}"
    ours = Celeriac("shop", broker=broker, backend=backend, set_as_current=False)

    @ours.task(name="shop.double")
    def double(x: int) -> int:
        return 2 * x

    @ours.task(name="shop.total")
    def total(values: list[int]) -> int:
        return sum(values)

    @ours.task(name="shop.fail")
    def fail(x: int) -> int:
        raise ValueError(x)

    theirs = celery.Celery("shop", broker=broker, backend=backend, set_as_current=False)
    theirs.conf.result_chord_retry_interval = 0.2
    with start_worker(ours, perform_ping_check=False):
        yield theirs
    ours.close()


def test_the_body_is_sent_when_all_have_ended(celerys: Any) -> None:
    header = [celerys.signature("shop.double", args=(n,), countdown=n * 0.3) for n in range(3)]
    body = celerys.signature("shop.total")
    assert celery.chord(header, body, app=celerys).apply_async().get(timeout=WAIT_S) == 6


def test_the_body_fails_with_a_member(celerys: Any) -> None:
    header = [celerys.signature("shop.double", args=(1,)), celerys.signature("shop.fail", args=(2,))]
    result = celery.chord(header, celerys.signature("shop.total"), app=celerys).apply_async()
    with pytest.raises((ValueError, celery.exceptions.ChordError)):
        result.get(timeout=WAIT_S)
    body = celerys.AsyncResult(result.id)
    with pytest.raises(celery.exceptions.ChordError, match=r"raised ValueError\(2\)"):
        body.get(timeout=WAIT_S)
