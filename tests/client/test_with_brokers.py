"""Calls and results over real brokers and backends, with the least of a worker on the other side."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from celeriac import Celeriac
from celeriac.core.effects import ACK, Record, Settlement
from celeriac.core.states import SUCCESS
from celeriac.exceptions import BrokerUnavailable, ImproperlyConfigured
from celeriac.wire import result_meta, task_v2


class MiniWorker:
    """Runs tasks in a thread: claims, calls the function, stores the result, acknowledges."""

    def __init__(self, app: Celeriac) -> None:
        self._app = app
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self.seen: list[str] = []

    def __enter__(self) -> MiniWorker:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._stop.set()
        self._thread.join(30)

    async def _serve(self) -> None:
        consumer = self._app.broker.consumer()
        writer = self._app.backend.writer()
        await consumer.open("mini-worker", ["celery"])
        while not self._stop.is_set():
            for delivery in await consumer.claim(100, 0.2):
                message = delivery.message
                assert message is not None
                args, kwargs, _embed = task_v2.decode_body(message, ("json",))
                value = self._app.tasks[message.task].run(*args, **kwargs)
                meta = result_meta.ResultMeta(status=SUCCESS, result=value, task_id=message.id)
                record = Record(
                    message.id,
                    SUCCESS,
                    result_meta.encode(meta, max_bytes=1_000_000),
                    3600.0,
                    message.properties.get("reply_to") or "",
                )
                settlement = Settlement(delivery.tag, ACK, records=[record])
                assert await consumer.settle([settlement]) == []
                if not consumer.stores_records:
                    await writer.store([record])
                self.seen.append(message.id)
        await consumer.release()
        await consumer.close()
        await writer.close()


@pytest.fixture(params=["memory", "sqlite", "redis", "rabbitmq"])
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Celeriac]:
    broker, backend = "memory://", None
    match request.param:
        case "sqlite":
            broker = f"sqlite:///{tmp_path}/broker.db"
        case "redis":
            broker = backend = request.getfixturevalue("redis_url")
        case "rabbitmq":
            broker, backend = request.getfixturevalue("rabbit_url"), "rpc://"
    with Celeriac("shop", broker=broker, backend=backend) as app:
        yield app


@pytest.fixture
def double(app: Celeriac) -> Any:
    @app.task(name="double")
    def double(x: int) -> int:
        return x * 2

    return double


def test_from_call_to_result(app: Celeriac, double: Any) -> None:
    with MiniWorker(app):
        results = [double.delay(n) for n in range(20)]
        assert [result.get(timeout=30) for result in results] == [n * 2 for n in range(20)]
        assert all(result.ready() and result.state == SUCCESS for result in results)
        results[0].forget()
        assert app.AsyncResult(results[0].id).state == "PENDING"


def test_many_calls_at_once(app: Celeriac, double: Any) -> None:
    app.conf.publish_batch_max = 30
    with MiniWorker(app) as worker:
        results = double.delay_many((n,) for n in range(100))
        results += app.send_many(double.s(n).set(priority=1) for n in range(100, 120))
        results += asyncio.run(double.adelay_many({"x": n} for n in range(120, 220)))
        assert app.ResultSet(results).get(timeout=30) == [n * 2 for n in range(220)]
    assert sorted(worker.seen) == sorted(result.id for result in results)


def test_waiting_begins_before_the_worker(app: Celeriac, double: Any) -> None:
    result = double.delay(4)
    got: list[int] = []
    waiting = threading.Thread(target=lambda: got.append(result.get(timeout=30)))
    waiting.start()
    with MiniWorker(app):
        waiting.join(30)
    assert got == [8]


def test_coroutines(app: Celeriac, double: Any) -> None:
    async def main() -> list[int]:
        results = await asyncio.gather(*(double.adelay(n) for n in range(200)))
        values: list[int] = await asyncio.gather(*(result.aget(timeout=30) for result in results))
        return values

    with MiniWorker(app) as worker:
        assert asyncio.run(main()) == [n * 2 for n in range(200)]
    # Looked at when the worker has ended: it notes a task only after the result is on its way to us.
    assert len(worker.seen) == len(set(worker.seen)) == 200


def test_a_countdown_is_kept_by_the_broker(app: Celeriac, double: Any) -> None:
    double.apply_async((1,), countdown=3600)
    admin = app.broker.admin()
    (depth,) = admin.depths(["celery"])
    admin.close()
    if app.broker.shown_url().startswith("redis:"):
        # No worker of ours lives that could end the delay, so it stands in the queue: Celery's would wait themselves.
        assert (depth.ready, depth.delayed) == (1, 0)
    else:
        assert depth.ready == 0
        assert depth.delayed in (1, None), "RabbitMQ keeps the delayed messages of all queues together"


def test_a_revoke_reaches_the_broker(app: Celeriac, double: Any) -> None:
    result = double.apply_async((1,), countdown=3600)
    result.revoke(terminate=True)

    async def revoked() -> list[str]:
        consumer = app.broker.consumer()
        await consumer.open("looking", ["celery"])
        found = [one.id for one in await consumer.revocations()]
        await consumer.release()
        await consumer.close()
        return found

    assert asyncio.run(revoked()) == [result.id]


def test_the_embedded_broker_needs_nothing(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(
        textwrap.dedent(
            """
            from celeriac import Celeriac
            app = Celeriac()
            @app.task
            def charge(x): pass
            if __name__ == "__main__":
                result = charge.delay(1)
                print(result.id, result.state)
                app.close()
            """
        )
    )
    done = subprocess.run([sys.executable, "shop.py"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "PENDING" in done.stdout
    assert str(tmp_path / ".celeriac" / "broker.db") in done.stderr
    with Celeriac(broker=f"sqlite:///{tmp_path}/.celeriac/broker.db") as app:
        admin = app.broker.admin()
        assert admin.depths(["celery"])[0].ready == 1
        admin.close()


def test_an_unreachable_broker() -> None:
    with Celeriac(broker="redis://127.0.0.1:1/0", publish_timeout_s=0.5) as away:

        @away.task(name="shop.charge")
        def charge() -> None: ...

        with pytest.raises(BrokerUnavailable, match=r"shop\.charge\[.*was not sent: redis://127.0.0.1:1/0"):
            charge.delay()

        async def main() -> None:
            with pytest.raises(BrokerUnavailable):
                await charge.adelay()

        asyncio.run(main())


def test_no_backend() -> None:
    with Celeriac(broker="redis://127.0.0.1:1/0") as app, pytest.raises(ImproperlyConfigured, match="backend="):
        app.AsyncResult("x").get()


def test_an_unknown_broker() -> None:
    with pytest.raises(ImproperlyConfigured, match="no known scheme"):
        Celeriac(broker="carrier-pigeon://").send_task("x")
