"""What a worker goes through while a chord is concluded in it: a stop, a lost lease, a lost connection.  The body runs once all the same."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from celeriac import Celeriac
from celeriac.brokers.embedded import messages
from celeriac.canvas import chord
from celeriac.client import workflows
from celeriac.client.result import AsyncResult
from celeriac.exceptions import ChordError
from celeriac.testing.worker import TestWorker
from celeriac.torture.servers.service import wait_until
from tests.services import PrivateRabbit, PrivateRedis

TIMEOUT_S = 30.0
SETTINGS: dict[str, Any] = {"worker_lease_s": 1.0, "worker_heartbeat_s": 0.25}


class Held:
    """A call that waits until it is let go."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.may_go = threading.Event()

    def wait(self) -> None:
        self.begun.set()
        assert self.may_go.wait(TIMEOUT_S)

    def until_begun(self) -> None:
        assert self.begun.wait(TIMEOUT_S)


class Program:
    """An app with a chord's tasks, and how often the body and its errback ran."""

    def __init__(self, app: Celeriac) -> None:
        self.app = app
        self.bodies: list[int] = []
        self.told: list[str] = []

        @app.task(name="echo")
        def echo(value: Any) -> Any:
            return value

        @app.task(name="echo_early", acks_late=False)
        def echo_early(value: Any) -> Any:
            return value

        @app.task(name="count")
        def count(values: list[Any]) -> int:
            self.bodies.append(len(values))
            return len(values)

        @app.task(name="tell")
        def tell(task_id: str) -> None:
            self.told.append(task_id)

    def send(self, *names: str) -> AsyncResult[int]:
        body = self.app.signature("count")
        body.link_error(self.app.signature("tell"))
        return self.app.AsyncResult(chord([self.app.signature(name, (1,)) for name in names])(body).id)

    def assert_ran_once(self, body: AsyncResult[int], size: int) -> None:
        assert body.get(timeout=TIMEOUT_S) == size
        self.until_closed()
        assert self.bodies == [size]
        assert self.told == []

    def until_closed(self) -> None:
        wait_until(lambda: self.app._reader.chords(None, 10) == [], "the chord is closed")


@pytest.fixture(
    params=[
        "sqlite",
        pytest.param("redis", marks=pytest.mark.redis),
        pytest.param("rabbitmq", marks=[pytest.mark.redis, pytest.mark.rabbitmq]),
    ]
)
def program(request: pytest.FixtureRequest, tmp_path: Any) -> Iterator[Program]:
    match request.param:
        case "sqlite":
            broker = backend = f"sqlite:///{tmp_path}/chords.db"
        case "redis":
            broker = backend = request.getfixturevalue("redis_server").fresh_url()
        case _:
            broker = request.getfixturevalue("rabbit_server").fresh_url()
            backend = request.getfixturevalue("redis_server").fresh_url()
    with Celeriac("trouble", broker=broker, backend=backend, set_as_current=False, **SETTINGS) as app:
        yield Program(app)


@pytest.fixture
def concluding(monkeypatch: pytest.MonkeyPatch) -> Iterator[Held]:
    """The first conclusion of a chord."""
    held = Held()
    read_chord = workflows.read_chord

    def read_held(*given: Any) -> Any:
        if not held.begun.is_set():
            held.wait()
        return read_chord(*given)

    monkeypatch.setattr(workflows, "read_chord", read_held)
    yield held
    held.may_go.set()


def stop(worker: TestWorker, grace_s: float) -> threading.Thread:
    stopping = threading.Thread(target=worker.stop, args=(grace_s,))
    stopping.start()
    return stopping


@pytest.mark.parametrize("name", ["echo", "echo_early"])
def test_a_worker_that_stops_concludes_first(program: Program, concluding: Held, name: str) -> None:
    worker = TestWorker(program.app)
    worker.start()
    body = program.send(name, name)
    concluding.until_begun()
    stopping = stop(worker, TIMEOUT_S)
    stopping.join(0.3)
    concluding.may_go.set()
    stopping.join(TIMEOUT_S)
    assert program.bodies == []
    with TestWorker(program.app):
        program.assert_ran_once(body, 2)


def test_a_worker_that_may_not_finish_leaves_it_to_another(program: Program, concluding: Held) -> None:
    worker = TestWorker(program.app)
    worker.start()
    body = program.send("echo", "echo")
    concluding.until_begun()
    stopping = stop(worker, 0.1)
    with TestWorker(program.app):
        program.assert_ran_once(body, 2)
    concluding.may_go.set()
    stopping.join(TIMEOUT_S)


def test_a_stop_while_an_early_member_is_joined(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    held = Held()
    make_writer = program.app.backend.writer

    def writer() -> Any:
        made: Any = make_writer()
        join = made.join

        async def join_held(parts: Any) -> list[bool]:
            await asyncio.to_thread(held.wait)
            answer: list[bool] = await join(parts)
            return answer

        made.join = join_held
        return made

    monkeypatch.setattr(program.app.backend, "writer", writer)
    worker = TestWorker(program.app)
    worker.start()
    monkeypatch.undo()
    body = program.send("echo_early")
    held.until_begun()
    stopping = stop(worker, TIMEOUT_S)
    stopping.join(0.5)
    held.may_go.set()
    stopping.join(TIMEOUT_S)
    with TestWorker(program.app):
        program.assert_ran_once(body, 1)


def test_a_lease_lost_while_a_chord_is_concluded(program: Program, concluding: Held) -> None:
    """The members come to another worker, or to the same one under its next lease; what the first conclusion says is not heard."""
    if str(program.app.conf.broker_url).startswith("amqp"):
        pytest.skip("RabbitMQ has no leases")
    with TestWorker(program.app) as worker:
        body = program.send("echo", "echo")
        concluding.until_begun()
        take_lease_away(worker)
        wait_until(
            lambda: worker._worker.core is not None and not worker._worker.core._entries, "the lease is found lost"
        )
        with TestWorker(program.app):
            assert body.get(timeout=TIMEOUT_S) == 2
            concluding.may_go.set()
            program.assert_ran_once(body, 2)


def take_lease_away(worker: TestWorker) -> None:
    """As when the whole process stood still for longer than the lease."""
    core = worker._worker.core
    assert core is not None
    consumer: Any = core._consumer

    async def lose() -> None:
        if hasattr(consumer, "_lease"):
            connection = await consumer._connected()
            await connection.call("ZADD", consumer._keys.workers, 0, consumer._lease)
        else:

            def take_over(connection: sqlite3.Connection) -> None:
                connection.execute("DELETE FROM workers WHERE owner = ?", (consumer._owner,))
                messages.take_over(connection, 100, time.time())

            await consumer._write(take_over)

    asyncio.run_coroutine_threadsafe(lose(), loop_of(worker)).result(TIMEOUT_S)


def loop_of(worker: TestWorker) -> asyncio.AbstractEventLoop:
    core = worker._worker.core
    assert core is not None
    return core._loops["watch"].get_loop()


def cut(worker: TestWorker) -> None:
    """Break the connection to the broker."""
    core = worker._worker.core
    assert core is not None
    consumer: Any = core._consumer
    loop = loop_of(worker)

    def break_it() -> None:
        connection = consumer._connection
        for name in ("_transport", "_writer"):
            if (transport := getattr(connection, name, None)) is not None:
                getattr(transport, "abort", transport.close)()
                return
        raise AssertionError(vars(connection))

    loop.call_soon_threadsafe(break_it)


@pytest.mark.parametrize("name", ["echo", "echo_early"])
def test_a_connection_lost_while_a_chord_is_concluded(program: Program, concluding: Held, name: str) -> None:
    if str(program.app.conf.broker_url).startswith("sqlite"):
        pytest.skip("a file has no connection")
    with TestWorker(program.app) as worker:
        body = program.send(name, name)
        concluding.until_begun()
        core: Any = worker._worker.core
        (entry,) = [entry for entry in core._entries.values() if entry.held_up is not None]
        tag = entry.delivery.tag
        cut(worker)
        if str(program.app.conf.broker_url).startswith("amqp") and name == "echo":
            wait_until(lambda: entry.delivery.tag != tag, "it has come again")
        concluding.may_go.set()
        program.assert_ran_once(body, 2)


@pytest.mark.rabbitmq
@pytest.mark.redis
@pytest.mark.parametrize("last", ["echo", "nobody's"])
def test_a_connection_lost_while_parts_are_collected(
    rabbit_server: PrivateRabbit, redis_server: PrivateRedis, monkeypatch: pytest.MonkeyPatch, last: str
) -> None:
    """The member comes again before anybody knows that it has completed its chord."""
    held = Held()
    app = Celeriac(
        "trouble", broker=rabbit_server.fresh_url(), backend=redis_server.fresh_url(), set_as_current=False, **SETTINGS
    )
    program = Program(app)
    make_writer = app.backend.writer

    def writer() -> Any:
        made: Any = make_writer()
        collect = made.collect

        async def collect_held(group_id: str) -> Any:
            if not held.begun.is_set():
                await asyncio.to_thread(held.wait)
            return await collect(group_id)

        made.collect = collect_held
        return made

    monkeypatch.setattr(app.backend, "writer", writer)
    with app, TestWorker(app) as worker:
        body = program.send(last)
        held.until_begun()
        core: Any = worker._worker.core
        cut(worker)
        settler = core._settler
        wait_until(
            lambda: core._entries or settler._pending or any(one.newer_tags for one in settler._unsettled.values()),
            "it has come again",
        )
        held.may_go.set()
        if last == "echo":
            program.assert_ran_once(body, 1)
        else:
            with pytest.raises(ChordError):
                body.get(timeout=TIMEOUT_S)
            program.until_closed()
            wait_until(lambda: program.told, "the errback has run")
            assert program.told == [body.id]


@pytest.mark.rabbitmq
@pytest.mark.redis
def test_a_chord_is_closed_before_its_last_member_is_acknowledged(
    rabbit_server: PrivateRabbit, redis_server: PrivateRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever dies after the acknowledgement does not come again to close it; and what it has sent is not sent once more."""
    held = Held()
    vhost = rabbit_server.vhost()
    app = Celeriac(
        "trouble",
        broker=rabbit_server.vhost_url(vhost),
        backend=redis_server.fresh_url(),
        set_as_current=False,
        **SETTINGS,
    )
    program = Program(app)
    make_writer = app.backend.writer

    def writer() -> Any:
        made: Any = make_writer()
        close_chords = made.close_chords

        async def close_held(group_ids: list[str]) -> None:
            if not held.begun.is_set():
                await asyncio.to_thread(held.wait)
            await close_chords(group_ids)

        made.close_chords = close_held
        return made

    monkeypatch.setattr(app.backend, "writer", writer)
    with app, TestWorker(app) as worker:
        body = program.send("echo")
        held.until_begun()
        wait_until(lambda: program.bodies, "the body runs")
        assert rabbit_server.unsettled(vhost, "celery") == 2  # the member, and the body that is to be settled after it
        settler = worker._worker.core._settler  # type: ignore[union-attr]
        cut(worker)
        wait_until(lambda: any(one.newer_tags for one in settler._unsettled.values()), "the member has come again")
        held.may_go.set()
        program.assert_ran_once(body, 1)


def test_a_member_that_went_down_with_its_worker_too_often(program: Program) -> None:
    """The worker that gets it at the limit tells its chord, its callers and whoever reads the dead letters."""
    if str(program.app.conf.broker_url).startswith("amqp"):
        pytest.skip("RabbitMQ takes back what a connection held, and not for a lease")
    program.app.conf.task_loss_limit = 1
    body = program.send("echo")

    async def go_down_with_it() -> None:
        consumer = program.app.broker.consumer()
        await consumer.open("lost", ["celery"])
        assert len(await consumer.claim(10, TIMEOUT_S)) == 1
        await consumer.close()

    asyncio.run(go_down_with_it())
    with TestWorker(program.app):
        with pytest.raises(ChordError, match="went down with its worker"):
            body.get(timeout=TIMEOUT_S)
        program.until_closed()
        wait_until(lambda: program.told, "the errback has run")
    assert program.told == [body.id]
    with closing(program.app.broker.admin()) as admin:
        (letter,) = admin.dead_letters("celery", 10)
    assert "went down" in letter.reason
