"""What Celery stores in a database we read, and what we store Celery reads: each looks at it with its own classes."""

from __future__ import annotations

import asyncio
import datetime as dt
import pickle
import uuid
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest
from celery import Celery
from celery.app.task import Context
from celery.result import GroupResult

from celeriac import Celeriac
from celeriac.backends.sqlalchemy import DatabaseBackend
from celeriac.core.effects import Record
from celeriac.core.settings import make_settings
from celeriac.exceptions import ContentDisallowed, DecodeError
from celeriac.wire import result_meta, serializers
from celeriac.wire.result_meta import ResultMeta
from tests.backends.sqlalchemy_places import Place

DONE = "2026-11-22T16:01:02.123456+00:00"
CHILDREN = [[["child", None], None], [["group", None], [[["one", None], None], [["two", None], None]]]]


def new_id() -> str:
    return str(uuid.uuid4())


class Pair:
    """An app of each side on one database."""

    def __init__(self, place: Place, **settings: Any) -> None:
        self.place = place
        self.celery = Celery("theirs", broker="memory://", backend=place.backend_url, set_as_current=False)
        self.celery.conf.update(settings)
        self.app = Celeriac("ours", broker="memory://", backend=place.backend_url, set_as_current=False)
        self.app.conf.update(settings)
        self.backend = DatabaseBackend(place.backend_url, make_settings(settings))
        self.reader = self.backend.reader()

    def store(self, task_id: str, state: str, result: Any, **fields: Any) -> bytes:
        """Store a result as our workers do; return the document."""
        meta = ResultMeta(status=state, result=result, task_id=task_id, **fields)
        payload = result_meta.encode(meta, max_bytes=10_000_000)

        async def scenario() -> None:
            writer = self.backend.writer()
            await writer.store([Record(task_id, state, payload, 3600.0)])
            await writer.close()

        asyncio.run(scenario())
        assert self.reader.fetch([task_id]) == {task_id: payload}, "we read it back to the byte"
        return payload

    def read(self, task_id: str) -> ResultMeta:
        """What our clients read."""
        return result_meta.decode(self.reader.fetch([task_id])[task_id])

    def close(self) -> None:
        self.reader.close()
        self.app.close()
        self.place.engine.dispose()


@pytest.fixture
def pair(place: Place) -> Iterator[Pair]:
    pair = Pair(place)
    yield pair
    pair.close()


@pytest.fixture
def file_pair(file_place: Place) -> Iterator[Pair]:
    pair = Pair(file_place)
    yield pair
    pair.close()


@pytest.fixture
def extended(place: Place) -> Iterator[Pair]:
    pair = Pair(place, result_extended=True)
    yield pair
    pair.close()


# -- what we store -----------------------------------------------------------------------------------------------------


def test_celery_reads_our_success(pair: Pair) -> None:
    pair.store(task_id := new_id(), "SUCCESS", {"größe": [1, 2.5, None]}, date_done=DONE, children=CHILDREN)
    found = pair.celery.AsyncResult(task_id)
    assert found.get(timeout=5) == {"größe": [1, 2.5, None]}
    assert found.successful()
    assert found.date_done.replace(microsecond=0) == dt.datetime(2026, 11, 22, 16, 1, 2)  # noqa: DTZ001
    assert [child.id for child in found.children] == ["child", "group"]
    assert [child.id for child in found.children[1]] == ["one", "two"]


def test_celery_raises_our_failure(pair: Pair) -> None:
    traceback = "Traceback: ß\n"
    pair.store(task_id := new_id(), "FAILURE", KeyError("nope", 3), traceback=traceback, date_done=DONE)
    found = pair.celery.AsyncResult(task_id)
    with pytest.raises(KeyError) as raised:
        found.get(timeout=5)
    assert raised.value.args == ("nope", 3)
    assert found.traceback == traceback


def test_celery_reads_our_states_on_the_way(pair: Pair) -> None:
    task_id = new_id()
    found = pair.celery.AsyncResult(task_id)
    for state, result in (("STARTED", {"pid": 5, "hostname": "w@h"}), ("PROGRESS", {"done": 3})):
        pair.store(task_id, state, result)
        assert (found.state, found.info) == (state, result)
    pair.store(task_id, "SUCCESS", (1, 2), date_done=DONE)
    assert found.get(timeout=5) == [1, 2]


def test_celery_reads_our_extended_results(extended: Pair) -> None:
    fields: dict[str, Any] = {"name": "shop.add", "args": [1, "ä"], "kwargs": {"b": 2}, "worker": "w@h", "retries": 3}
    stamps = {"order": ["a", 7]}
    extended.store(task_id := new_id(), "SUCCESS", 5, date_done=DONE, queue="fast", stamps=stamps, **fields)
    found = extended.celery.AsyncResult(task_id)
    assert found.get(timeout=5) == 5
    assert {name: getattr(found, name) for name in fields} == fields
    assert found.queue == "fast"
    assert extended.celery.backend.get_task_meta(task_id)["order"] == ["a", 7]


def test_celery_restores_our_groups(pair: Pair) -> None:
    group_id = new_id()
    members = [[["one", None], None], [["two", None], None]]
    saved = serializers.dumps({"result": [[group_id, None], members]}, "json").data
    pair.reader.save_group(group_id, saved, 3600.0)
    found = GroupResult.restore(group_id, app=pair.celery)
    assert [child.id for child in found] == ["one", "two"]
    assert pair.reader.fetch_group(group_id) == saved


def test_celery_forgets_and_cleans_up_ours(pair: Pair) -> None:
    pair.store(old := new_id(), "SUCCESS", 1, date_done="2020-01-01T00:00:00+00:00")
    pair.store(new := new_id(), "SUCCESS", 1, date_done=dt.datetime.now(dt.UTC).isoformat())
    pair.store(forgotten := new_id(), "SUCCESS", 1, date_done=DONE)
    pair.celery.backend.cleanup()
    pair.celery.AsyncResult(forgotten).forget()
    assert set(pair.reader.fetch([old, new, forgotten])) == {new}


# -- what Celery stores ------------------------------------------------------------------------------------------------


def test_we_read_celerys_success(pair: Pair) -> None:
    request = Context(id="x")
    request.children.append(pair.celery.AsyncResult("child"))
    pair.celery.backend.store_result(task_id := new_id(), {"größe": [1, 2.5]}, "SUCCESS", request=request)
    found = pair.read(task_id)
    assert (found.status, found.result, found.task_id) == ("SUCCESS", {"größe": [1, 2.5]}, task_id)
    assert found.children == [[["child", None], None]]
    assert found.date_done is not None
    seconds_ago = (dt.datetime.now(dt.UTC) - dt.datetime.fromisoformat(found.date_done)).total_seconds()
    assert -5 < seconds_ago < 60
    assert pair.app.AsyncResult(task_id).get(timeout=10) == {"größe": [1, 2.5]}


def test_we_raise_celerys_failure(pair: Pair) -> None:
    pair.celery.backend.store_result(task_id := new_id(), ValueError("no", 1), "FAILURE", traceback="Trace: ß")
    found = pair.app.AsyncResult(task_id)
    with pytest.raises(ValueError, match="no"):
        found.get(timeout=10)
    assert found.traceback == "Trace: ß"


def test_we_read_celerys_extended_results(extended: Pair) -> None:
    request = Context(
        id="x", task="shop.add", args=[1], kwargs={"b": 2}, hostname="w@h", retries=3, stamps={"order": [7]},
        stamped_headers=["order"], delivery_info={"routing_key": "fast"},
    )  # fmt: skip
    extended.celery.backend.store_result(task_id := new_id(), 5, "SUCCESS", request=request)
    found = extended.read(task_id)
    assert (found.name, found.args, found.kwargs, found.worker) == ("shop.add", [1], {"b": 2}, "w@h")
    assert (found.retries, found.queue, found.stamps) == (3, "fast", {"order": [7]})


def test_we_read_what_celery_writes_over_ours(pair: Pair) -> None:
    pair.store(task_id := new_id(), "STARTED", {"pid": 1})
    pair.celery.backend.store_result(task_id, {"done": 1}, "STARTED")
    assert pair.read(task_id).result == {"done": 1}
    pair.celery.backend.store_result(task_id, 6, "SUCCESS")
    assert (pair.read(task_id).status, pair.read(task_id).result) == ("SUCCESS", 6)
    lost = result_meta.encode(ResultMeta(status="FAILURE", task_id=task_id), max_bytes=1000)
    pair.reader.store([Record(task_id, "FAILURE", lost, 3600.0)])
    assert pair.read(task_id).result == 6, "Celery's success is one like ours"


def test_our_failure_over_celerys(pair: Pair) -> None:
    pair.celery.backend.store_result(task_id := new_id(), {"pid": 1}, "STARTED")
    pair.store(task_id, "FAILURE", KeyError("x"), date_done=DONE)
    assert pair.celery.AsyncResult(task_id).state == "FAILURE"


def test_we_restore_celerys_groups(pair: Pair) -> None:
    group_id = new_id()
    GroupResult(group_id, [pair.celery.AsyncResult("one"), pair.celery.AsyncResult("two")], app=pair.celery).save()
    saved = pair.reader.fetch_group(group_id)
    assert saved is not None
    document = result_meta.load(saved, result_meta.PLAIN)
    assert document == {"result": [[group_id, None], [[["one", None], None], [["two", None], None]]]}


def test_who_waits_here_hears_of_what_celery_stores(pair: Pair) -> None:
    task_id = new_id()
    waiting = pair.app.AsyncResult(task_id)
    assert waiting.state == "PENDING"
    pair.celery.backend.store_result(task_id, 7, "SUCCESS")
    assert waiting.get(timeout=20) == 7


# -- other serializers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("serializer", ["pickle", "yaml"])
def test_celerys_results_in_other_serializers(file_place: Place, serializer: str) -> None:
    settings = {"result_serializer": serializer, "accept_content": ["json", serializer], "result_extended": True}
    pair = Pair(file_place, **settings)
    try:
        request = Context(id="x", task="a", args=[48], kwargs={}, retries=0, delivery_info={})
        pair.celery.backend.store_result(good := new_id(), {"a": [48]}, "SUCCESS", request=request)
        pair.celery.backend.store_result(plain := new_id(), 48, "SUCCESS")
        pair.celery.backend.store_result(bad := new_id(), ValueError("no"), "FAILURE")
        assert pair.app.AsyncResult(good).get(timeout=10) == {"a": [48]}
        assert pair.app.AsyncResult(good).args == [48]
        assert pair.app.AsyncResult(plain).get(timeout=10) == 48
        with pytest.raises(ValueError, match="no"):
            pair.app.AsyncResult(bad).get(timeout=10)
    finally:
        pair.close()


def test_what_celery_cannot_read_it_takes_for_no_value(file_pair: Pair) -> None:
    """A document that is compressed, signed or not JSON is ours alone: Celery gets an error, not something wrong."""
    task_id = new_id()
    payload = pickle.dumps({"status": "SUCCESS", "result": 1})
    file_pair.reader.store([Record(task_id, "SUCCESS", payload, 3600.0)])
    assert file_pair.reader.fetch([task_id]) == {task_id: payload}
    with pytest.raises(Exception, match="Expecting value"):
        file_pair.celery.AsyncResult(task_id).get(timeout=5)


# -- Celery up to 5.6, which pickles results whatever the serializer ---------------------------------------------------


class Evil:
    ran: ClassVar[list[str]] = []

    def __reduce__(self) -> Any:
        return Evil.ran.append, ("was run",)


def old_row(pair: Pair, value: Any) -> str:
    """Store a result as Celery 5.6 does."""
    task_id = new_id()
    pair.celery.backend.store_result(task_id, None, "SUCCESS")
    written = pickle.dumps(value, 5)
    pair.place.execute(f"UPDATE celery_taskmeta SET result = x'{written.hex()}' WHERE task_id = '{task_id}'")
    return task_id


def test_pickled_results_of_old_celery_are_read_when_they_are_plain(file_pair: Pair) -> None:
    assert file_pair.app.AsyncResult(old_row(file_pair, {"a": [1, (2, None)]})).get(timeout=10) == {"a": [1, [2, None]]}


def test_no_pickle_runs_code_here(file_pair: Pair) -> None:
    for value in (Evil(), dt.date(2026, 1, 1)):
        with pytest.raises(ContentDisallowed, match="add 'pickle' to result_accept_content"):
            file_pair.app.AsyncResult(old_row(file_pair, value)).get(timeout=10)
    assert Evil.ran == []


def test_a_small_pickle_that_stands_for_much_is_refused(file_pair: Pair) -> None:
    value: list[Any] = []
    for _ in range(60):
        value = [value, value]
    with pytest.raises(DecodeError, match="more than 1000000 values"):
        file_pair.app.AsyncResult(old_row(file_pair, value)).get(timeout=10)


def test_pickles_are_read_where_they_are_accepted(file_place: Place) -> None:
    pair = Pair(file_place, result_accept_content=["json", "pickle"])
    try:
        assert pair.app.AsyncResult(old_row(pair, dt.date(2026, 1, 1))).get(timeout=10) == dt.date(2026, 1, 1)
    finally:
        pair.close()


# -- the tables --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", ["ours", "theirs"])
def test_whoever_comes_first_makes_the_tables(new_place: Place, first: str) -> None:
    pair = Pair(new_place)
    try:
        if first == "theirs":
            pair.celery.backend.store_result(before := new_id(), 1, "SUCCESS")
            assert pair.app.AsyncResult(before).get(timeout=10) == 1
        pair.store(ours := new_id(), "SUCCESS", 2, date_done=DONE)
        assert pair.celery.AsyncResult(ours).get(timeout=5) == 2
        pair.celery.backend.store_result(theirs := new_id(), 3, "SUCCESS")
        assert pair.app.AsyncResult(theirs).get(timeout=10) == 3
    finally:
        pair.close()
