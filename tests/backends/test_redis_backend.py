"""The Redis backend beside Celery's, and when its server is not well."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from typing import Any

import celery
import pytest
import redis
from celery.backends.base import DisabledBackend

from celeriac.backends.redis import RedisBackend
from celeriac.core.effects import Record
from celeriac.core.settings import make_settings
from celeriac.exceptions import BackendUnavailable
from celeriac.testing.backend_suite import make_record, new_id
from celeriac.wire import result_meta
from celeriac.wire.result_meta import ResultMeta
from tests.services import PrivateRedis, free_port, wait_until

DEADLINE_S = 30.0


def redis_backend(url: str, **settings: Any) -> RedisBackend:
    return RedisBackend(url, make_settings(settings))


def record_of(meta: ResultMeta, expires_s: float | None = 60.0) -> Record:
    return Record(meta.task_id, meta.status, result_meta.encode(meta, max_bytes=10**6), expires_s)


@pytest.fixture(params=["", "shop", "shop:"], ids=["plain", "prefix", "prefix with colon"])
def prefix(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


@pytest.fixture
def celery_app(redis_url: str, prefix: str) -> Iterator[celery.Celery]:
    app = celery.Celery("shop", broker="memory://", backend=redis_url, set_as_current=False)
    app.conf.result_backend_transport_options = {"global_keyprefix": prefix} if prefix else {}
    assert not isinstance(app.backend, DisabledBackend)
    yield app
    app.backend.result_consumer.stop()
    app.backend.client.close()
    app.close()


@pytest.fixture
def backend(redis_url: str, prefix: str) -> RedisBackend:
    return redis_backend(redis_url, result_backend_transport_options={"global_keyprefix": prefix})


def test_celery_reads_what_we_store(celery_app: celery.Celery, backend: RedisBackend) -> None:
    fine, bad = new_id(), new_id()
    reader = backend.reader()
    reader.store(
        [
            record_of(ResultMeta(status="SUCCESS", result={"ä": [1, None]}, task_id=fine)),
            record_of(ResultMeta(status="FAILURE", result=ValueError("no"), traceback="Traceback", task_id=bad)),
        ]
    )
    reader.close()
    assert celery_app.AsyncResult(fine).get(timeout=DEADLINE_S) == {"ä": [1, None]}
    with pytest.raises(ValueError, match="no"):
        celery_app.AsyncResult(bad).get(timeout=DEADLINE_S)


def test_celery_waits_for_what_we_store(celery_app: celery.Celery, backend: RedisBackend) -> None:
    task_id = new_id()
    result = celery_app.AsyncResult(task_id)
    result.then(lambda ready: None)  # subscribes
    channel = celery_app.backend.get_key_for_task(task_id)

    async def scenario() -> None:
        writer = backend.writer()
        await writer.store([record_of(ResultMeta(status="SUCCESS", result="done", task_id=task_id))])
        await writer.close()

    wait_until(lambda: celery_app.backend.client.pubsub_numsub(channel)[0][1] == 1, "Celery has subscribed")
    asyncio.run(scenario())
    assert result.get(timeout=DEADLINE_S) == "done"


def test_we_read_and_are_told_what_celery_stores(celery_app: celery.Celery, backend: RedisBackend) -> None:
    early, late = new_id(), new_id()
    celery_app.backend.store_result(early, 1, "SUCCESS")

    async def scenario() -> None:
        told: dict[str, ResultMeta] = {}
        is_told = asyncio.Event()

        def deliver(task_id: str, document: bytes) -> None:
            told[task_id] = result_meta.decode(document)
            if task_id == late:
                is_told.set()

        listener = backend.listener()
        await listener.open(deliver)
        await listener.watch([early, late])
        assert told[early].result == 1
        await asyncio.to_thread(celery_app.backend.store_result, late, ValueError("no"), "FAILURE")
        await is_told.wait()
        assert repr(told[late].result) == "ValueError('no')"
        await listener.close()

    asyncio.run(asyncio.wait_for(scenario(), DEADLINE_S))
    reader = backend.reader()
    assert {key: result_meta.decode(value).status for key, value in reader.fetch([early, late, new_id()]).items()} == {
        early: "SUCCESS",
        late: "FAILURE",
    }
    reader.forget([early])
    assert celery_app.AsyncResult(early).state == "PENDING"
    reader.close()


def test_neither_overwrites_the_others_success(celery_app: celery.Celery, backend: RedisBackend) -> None:
    ours, theirs = new_id(), new_id()
    reader = backend.reader()
    reader.store([record_of(ResultMeta(status="SUCCESS", result="first", task_id=ours))])
    celery_app.backend.store_result(ours, "second", "FAILURE")
    celery_app.backend.store_result(theirs, "first", "SUCCESS")
    reader.store([record_of(ResultMeta(status="RETRY", result=ValueError("second"), task_id=theirs))])
    documents = reader.fetch([ours, theirs])
    assert [result_meta.decode(documents[task_id]).result for task_id in (ours, theirs)] == ["first", "first"]
    reader.close()


def test_results_expire_as_the_record_says(redis_url: str) -> None:
    reader = redis_backend(redis_url).reader()
    reader.store([make_record("a", expires_s=0.2), make_record("b", expires_s=90.0), make_record("c", expires_s=None)])
    reader.close()
    with redis.Redis.from_url(redis_url) as client:
        a, b, c = (client.ttl(f"celery-task-meta-{name}") for name in "abc")
    assert 0 <= a <= 1
    assert 80 < b <= 90
    assert c == -1


# -- a server that is not well -----------------------------------------------------------------------------------------


def test_a_closed_port_is_unavailable() -> None:
    backend = redis_backend(f"redis://:secret@127.0.0.1:{free_port()}/0")
    unreachable = pytest.raises(BackendUnavailable, match=r"redis://:\*\*@127.0.0.1:\d+/0 cannot be reached: .*refused")
    with unreachable:
        backend.reader().fetch(["a"])

    async def scenario() -> None:
        listener = backend.listener()
        for call in (backend.writer().store([make_record("a")]), listener.open(lambda *_: None)):
            with pytest.raises(BackendUnavailable, match="cannot be reached"):
                await call
        for call in (listener.watch(["a"]), listener.run()):
            with pytest.raises(BackendUnavailable, match="is not open"):
                await call

    asyncio.run(scenario())


def test_a_wrong_password_is_a_backends_error(needs_redis: None) -> None:
    with PrivateRedis(password="right") as server:
        backend = redis_backend(f"redis://:wrong@127.0.0.1:{server.port}/0")
        with pytest.raises(BackendUnavailable, match="refused user 'default': WRONGPASS"):
            backend.reader().fetch(["a"])


def test_a_full_server_refuses_results(own_redis: PrivateRedis) -> None:
    backend = redis_backend(own_redis.url)
    reader = backend.reader()
    reader.store([make_record("a")])
    with redis.Redis.from_url(own_redis.url) as client:
        client.config_set("maxmemory", "1")
        with pytest.raises(BackendUnavailable, match=r"is full: .*OOM"):
            reader.store([make_record("b")])
        client.config_set("maxmemory", "0")
    reader.store([make_record("b")])
    assert set(reader.fetch(["a", "b"])) == {"a", "b"}
    reader.close()


def test_a_channel_that_is_forbidden_is_an_error_and_mixes_up_nothing(own_redis: PrivateRedis) -> None:
    with redis.Redis.from_url(own_redis.url) as client:
        client.execute_command("ACL", "SETUSER", "shop", "on", ">x", "~*", "+@all", "resetchannels", "&*-allowed")
    backend = redis_backend(f"redis://shop:x@127.0.0.1:{own_redis.port}/0")

    async def scenario() -> None:
        told: dict[str, bytes] = {}
        listener = backend.listener()
        await listener.open(lambda task_id, document: told.update({task_id: document}))
        with pytest.raises(BackendUnavailable, match="forbids this to user 'shop': NOPERM"):
            await listener.watch(["forbidden"])
        writer = redis_backend(own_redis.url).writer()
        await writer.store([record := make_record("is-allowed")])
        await listener.watch(["is-allowed"])
        assert told == {"is-allowed": record.payload}
        await listener.close()
        await writer.close()

    asyncio.run(scenario())


def test_a_lost_connection_ends_run(own_redis: PrivateRedis) -> None:
    async def scenario() -> None:
        listener = redis_backend(own_redis.url).listener()
        await listener.open(lambda *_: None)
        running = asyncio.create_task(listener.run())
        await asyncio.sleep(0)
        await asyncio.to_thread(own_redis.kill)
        with pytest.raises(BackendUnavailable, match=re.escape("127.0.0.1")):
            await running
        await listener.close()

    asyncio.run(scenario())
