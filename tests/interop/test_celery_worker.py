"""Our program's tasks run on a Celery worker, and our AsyncResult reads what became of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone

import pytest

from celeriac import Celeriac
from celeriac.canvas import chain
from celeriac.exceptions import MaxRetriesExceededError, TaskRevokedError
from tests.interop.functions import VALUES, OutOfStock
from tests.interop.harness import Place
from tests.services import PrivateRedis

QUEUE = "to-celery"
TIMEOUT_S = 30.0


@pytest.fixture(scope="module")
def app(place: Place) -> Iterator[Celeriac]:
    """Our program. The queue is the one that it makes: Celery has to find it to its liking."""
    app = place.our_app(QUEUE)
    if place.name == "redis":
        # Celery keeps no delays in Redis, so ours are handed out by our workers: one is needed, on whatever queue. See
        # the last test.
        place.our_worker("elsewhere", "-c", "1", name="elsewhere")
    first = app.send_task("shop.echo", ["first"])
    worker = place.celery_worker(QUEUE)
    assert first.get(timeout=TIMEOUT_S) == "first"
    yield app
    worker.stop()
    place.check_empty(QUEUE)


# -- what a message carries -------------------------------------------------------------------------------------------


def test_a_result(app: Celeriac) -> None:
    result = app.tasks["shop.add"].delay(1, 2)
    assert result.get(timeout=TIMEOUT_S) == 3
    assert result.state == "SUCCESS"
    assert result.date_done is not None


def test_a_result_for_a_coroutine(app: Celeriac) -> None:
    async def call() -> list[int]:
        results = [await app.tasks["shop.add"].adelay(number, number) for number in range(5)]
        return [await result.aget(timeout=TIMEOUT_S) for result in results]

    assert asyncio.run(call()) == [0, 2, 4, 6, 8]


def test_values_of_every_type_go_there_and_back(app: Celeriac) -> None:
    results = [app.tasks["shop.echo"].delay(value) for value in VALUES]
    assert [repr(result.get(timeout=TIMEOUT_S)) for result in results] == [repr(value) for value in VALUES]


def test_the_worker_reads_what_the_sender_says_of_the_call(app: Celeriac) -> None:
    result = app.tasks["shop.about"].apply_async(
        headers={"tenant": "acme"}, priority=3, time_limit=50, soft_time_limit=40
    )
    told = result.get(timeout=TIMEOUT_S)
    assert told["id"] == told["root_id"] == result.id
    assert told["tenant"] == "acme"
    assert told["priority"] == 3
    assert told["timelimit"] == [50, 40]
    assert told["parent_id"] is None
    assert told["origin"] == app.origin
    assert told["hostname"] == "celery@theirs"


@pytest.mark.parametrize("method", ["gzip", "bzip2", "lzma"])
def test_compressed(app: Celeriac, method: str) -> None:
    result = app.tasks["shop.echo"].apply_async(("x" * 10_000,), compression=method)
    assert result.get(timeout=TIMEOUT_S) == "x" * 10_000


# -- when it runs -----------------------------------------------------------------------------------------------------


def test_countdown_and_eta(place: Place, app: Celeriac) -> None:
    soon, later = place.key(), place.key()
    sent_at = time.time()
    eta = datetime.now(timezone(timedelta(hours=5, minutes=30))) + timedelta(seconds=0.5)
    results = [
        app.tasks["shop.note"].apply_async(kwargs={"key": later}, countdown=1.2),
        app.tasks["shop.note"].apply_async(kwargs={"key": soon}, eta=eta),
    ]
    assert [result.get(timeout=TIMEOUT_S) for result in results] == [later, soon]
    assert place.journal.of("end", soon)[0].at >= eta.timestamp()
    assert place.journal.of("end", later)[0].at >= sent_at + 1.2


def test_expired_before_its_time_came(place: Place, app: Celeriac) -> None:
    key = place.key()
    result = app.tasks["shop.note"].apply_async(kwargs={"key": key}, countdown=0.6, expires=0.3)
    with pytest.raises(TaskRevokedError, match="expired"):
        result.get(timeout=TIMEOUT_S)
    assert result.state == "REVOKED"
    assert place.journal.ends(key) == 0


# -- how it ends ------------------------------------------------------------------------------------------------------


def test_an_error_that_both_know(app: Celeriac) -> None:
    result = app.tasks["shop.fail"].delay("own")
    with pytest.raises(OutOfStock) as raised:
        result.get(timeout=TIMEOUT_S)
    assert (raised.value.article, raised.value.left) == ("spoon", 0)
    assert "OutOfStock" in str(result.traceback)
    assert result.failed()


def test_an_error_of_python(app: Celeriac) -> None:
    with pytest.raises(ValueError, match="no good"):
        app.tasks["shop.fail"].delay("builtin").get(timeout=TIMEOUT_S)


def test_retries_until_it_works(app: Celeriac) -> None:
    assert app.tasks["shop.flaky"].delay(2).get(timeout=TIMEOUT_S) == 2


def test_retries_used_up(app: Celeriac) -> None:
    result = app.tasks["shop.flaky"].delay(10)
    with pytest.raises((OutOfStock, MaxRetriesExceededError)) as raised:
        result.get(timeout=TIMEOUT_S)
    assert raised.value.args == ("fork", 3)


def test_an_ignored_result_is_not_kept(place: Place, app: Celeriac) -> None:
    key = place.key()
    results = [
        app.tasks["shop.quiet"].delay(key=key),
        app.tasks["shop.note"].apply_async(kwargs={"key": f"{key}-told"}, ignore_result=True),
    ]
    place.until_noted(key, f"{key}-told")
    app.tasks["shop.echo"].delay(1).get(timeout=TIMEOUT_S)
    assert [result.get() for result in results] == [None, None]
    assert [app.AsyncResult(result.id).state for result in results] == ["PENDING", "PENDING"]


# -- what follows -----------------------------------------------------------------------------------------------------


def test_callbacks(place: Place, app: Celeriac) -> None:
    key = place.key()
    note = app.tasks["shop.note"]
    result = app.tasks["shop.add"].apply_async(
        (1, 2), link=[note.s(key=key), note.si(key=f"{key}-immutable")], link_error=note.s(key=f"{key}-error")
    )
    assert result.get(timeout=TIMEOUT_S) == 3
    place.until_noted(key, f"{key}-immutable")
    assert place.journal.of("end", key)[0].more["args"] == [3]
    assert place.journal.of("end", f"{key}-immutable")[0].more["args"] == []
    app.tasks["shop.echo"].delay(1).get(timeout=TIMEOUT_S)
    assert place.journal.ends(f"{key}-error") == 0


def test_an_errback_gets_the_id(place: Place, app: Celeriac) -> None:
    key = place.key()
    result = app.tasks["shop.fail"].apply_async(("own",), link_error=app.tasks["shop.note_id"].s(key=key))
    place.until_noted(key)
    assert place.journal.of("end", key)[0].more["args"] == [result.id]


def test_a_chain_written_by_hand(place: Place, app: Celeriac) -> None:
    # What `chain()` of Celery puts into a message: what is left, last step first.
    key = place.key()
    left = [app.tasks["shop.note"].s(key=key), app.tasks["shop.add"].s(10)]
    assert app.tasks["shop.add"].apply_async((1, 2), chain=left).get(timeout=TIMEOUT_S) == 3
    place.until_noted(key)
    assert place.journal.of("end", key)[0].more["args"] == [13]


def test_a_stamped_chain(app: Celeriac) -> None:
    step = app.tasks["shop.stamped"]
    steps = chain(step.s(), step.s().stamp(own=1), step.s()).stamp(tenant=["acme", "ä"])
    both = [["own", "tenant"], {"own": 1, "tenant": ["acme", "ä"]}]
    one = [["tenant"], {"tenant": ["acme", "ä"]}]
    assert steps.apply_async().get(timeout=TIMEOUT_S) == [["celery@theirs", *stamps] for stamps in (one, both, one)]


def test_children_are_known(place: Place, app: Celeriac) -> None:
    result = app.tasks["shop.parent"].delay()
    child_id = result.get(timeout=TIMEOUT_S)
    assert [child.id for child in result.children] == [child_id]
    if place.backend_url != "rpc://":  # Celery's worker has the child's result sent to itself
        assert result.children[0].get(timeout=TIMEOUT_S) == 42


def test_many_at_once(app: Celeriac) -> None:
    async def call() -> list[int]:
        calls = (app.tasks["shop.add"].adelay(number, number) for number in range(200))
        results = await asyncio.gather(*calls)
        return await asyncio.gather(*(result.aget(timeout=TIMEOUT_S) for result in results))

    assert asyncio.run(call()) == [2 * number for number in range(200)]


def test_a_countdown_where_no_worker_of_ours_runs(interop_redis: PrivateRedis) -> None:
    place = Place("alone", interop_redis, interop_redis.database_url(2), interop_redis.database_url(3))
    try:
        app = place.our_app(QUEUE)
        worker = place.celery_worker(QUEUE)
        delayed = app.tasks["shop.add"].apply_async((1, 2), countdown=0.05)
        # Long enough after it, Celery has done other things.
        for number in range(3):
            assert app.tasks["shop.note"].delay(key=f"{number}", nap_s=0.1).get(timeout=TIMEOUT_S)
        worker.stop()  # warmly: what has begun is done
        assert delayed.state == "SUCCESS"
    finally:
        place.close()
