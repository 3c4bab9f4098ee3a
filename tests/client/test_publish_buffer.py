"""The buffer for publishing: a real broker is away and comes back, and every call is sent, refused, or named as lost."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from celeriac import Celeriac
from celeriac.client.publish_buffer import BufferLimits, PublishBuffer
from celeriac.client.publisher import Publisher
from celeriac.core.effects import ACK, Settlement
from celeriac.core.message import Message
from celeriac.exceptions import BrokerUnavailable, EncodeError, PublishBufferFull, Unroutable
from celeriac.torture.servers.proxy import Proxy
from tests.brokers.callers import program, raised_in_a_task, send_in_each_way, task_of
from tests.client.recording import RecordingProducer
from tests.services import PrivateRabbit, PrivateRedis, free_port, wait_until

ROOM = 5


class Away:
    """A broker that is not there until `come_back` is called."""

    def __init__(self, url: str, come_back: Callable[[], object]) -> None:
        self.url = url
        self.come_back = come_back


@pytest.fixture(params=["redis", "rabbitmq", "sqlite"])
def away(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Away]:
    with contextlib.ExitStack() as stack:
        if request.param == "redis":
            server: PrivateRedis = request.getfixturevalue("own_redis")
            server.stop()
            yield Away(server.url, server.start)
        elif request.param == "rabbitmq":
            request.getfixturevalue("needs_rabbit")
            rabbit: PrivateRabbit = request.getfixturevalue("rabbit_server")
            proxy = stack.enter_context(Proxy(rabbit.port))
            proxy.swallow()
            yield Away(proxy.url(rabbit.fresh_url()), lambda: proxy.swallow(False))
        else:
            url = f"sqlite:///{tmp_path}/broker.db"
            task_of(first := program(url)).apply_async(("make it",), queue="other")
            first.close()
            blocker = sqlite3.connect(tmp_path / "broker.db", isolation_level=None)
            stack.callback(blocker.close)
            blocker.execute("BEGIN EXCLUSIVE")
            yield Away(url, lambda: blocker.execute("COMMIT"))


async def claimed_ids(app: Celeriac) -> list[str]:
    consumer = app.broker.consumer()
    await consumer.open("reader", ["celery"])
    found: list[str] = []
    while claimed := await consumer.claim(1000, 0.5):
        found += [delivery.message.id for delivery in claimed if delivery.message is not None]
        await consumer.settle([Settlement(delivery.tag, ACK) for delivery in claimed])
    await consumer.close()
    return found


def test_calls_wait_while_the_broker_is_away_and_are_sent_in_order(away: Away) -> None:
    app = program(away.url, 3.0, publish_buffer_max=ROOM)
    task = task_of(app)
    kept = [task.delay(str(number)).id for number in range(ROOM - 1)]
    kept.append(asyncio.run(task.adelay("last")).id)
    assert len(app.publish_buffer) == ROOM
    assert app.publish_buffer.bytes > ROOM * 100

    assert send_in_each_way(app) == [PublishBufferFull] * 3
    with pytest.raises(PublishBufferFull, match=rf"note\[.*was not sent.*publish_buffer_max={ROOM}"):
        task.delay("one too many")
    assert len(app.publish_buffer) == ROOM, "nothing is dropped for what comes later"

    away.come_back()
    wait_until(lambda: not len(app.publish_buffer), "what waited is sent", deadline_s=60)
    kept.append(task.delay("at once").id)
    assert app.publish_buffer.bytes == 0
    assert asyncio.run(claimed_ids(app)) == kept
    app.close()


def test_there_is_room_for_some_of_many_callers_at_once() -> None:
    app = program(f"redis://127.0.0.1:{free_port()}", 10.0, publish_buffer_max=ROOM, publish_buffer_exit_wait_s=0)
    task = task_of(app)

    async def many() -> list[Any]:
        calls = (task.adelay(str(number)) for number in range(ROOM * 3))
        return list(await asyncio.gather(*calls, return_exceptions=True))

    ends = asyncio.run(many())
    assert sum(isinstance(end, PublishBufferFull) for end in ends) == ROOM * 2
    assert len(app.publish_buffer) == ROOM
    app.close()


def test_a_limit_of_bytes() -> None:
    settings = {"publish_buffer_max": 100, "publish_buffer_max_bytes": 20_000, "publish_buffer_exit_wait_s": 0}
    app = program(f"redis://127.0.0.1:{free_port()}", **settings)
    task_of(app).delay("x" * 10_000)
    with pytest.raises(PublishBufferFull, match="publish_buffer_max_bytes=20000"):
        task_of(app).delay("x" * 10_000)
    task_of(app).delay("small")
    assert len(app.publish_buffer) == 2
    app.close()


def test_a_task_is_told_instead(own_redis: PrivateRedis) -> None:
    app = program(own_redis.url, publish_buffer_max=ROOM)
    raised = raised_in_a_task(app, own_redis.freeze, own_redis.thaw)
    assert issubclass(raised, BrokerUnavailable)
    assert raised is not PublishBufferFull
    assert len(app.publish_buffer) == 0
    app.close()


def test_what_can_never_be_sent_holds_up_nobody(caplog: pytest.LogCaptureFixture) -> None:
    producer = RecordingProducer()
    producer.gate.clear()
    buffer = PublishBuffer(Publisher(producer, "redis://host"), BufferLimits(10, 10_000, 30, 5))
    messages = [Message("q", {"id": str(number), "task": "t"}, b"") for number in range(4)]
    refused = BrokerUnavailable("refused")
    # The first attempt, then two of the thread: all four at once, and one by one.
    producer.failures = [
        refused,
        refused,
        EncodeError("no such form"),
        EncodeError("no such form"),
        Unroutable("no queue", ["1"]),
    ]
    producer.gate.set()
    buffer.publish(messages, 5)
    buffer.close()
    assert len(buffer) == 0
    assert [message.id for message in producer.messages] == ["2", "3"]
    told = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert [text.partition(" had waited")[0] for text in told] == ["call t[0]", "call t[1]"]


PROGRAM = """
import os, sys
from celeriac import Celeriac

app = Celeriac("caller", broker=sys.argv[1], publish_timeout_s=1.0, publish_buffer_max=10, publish_buffer_exit_wait_s=float(sys.argv[2]))

@app.task(name="note")
def note(text): ...

ids = [note.delay(str(number)).id for number in range(3)]
child = os.fork()
if child == 0:
    assert len(app.publish_buffer) == 0, "what waits is the parent's"
else:
    os.waitpid(child, 0)
    print(*ids, flush=True)
"""


def ending_program(url: str, wait_s: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PROGRAM, url, str(wait_s)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_process_that_ends_names_what_it_could_not_send() -> None:
    process = ending_program(f"redis://127.0.0.1:{free_port()}", 0.2)
    out, errors = process.communicate(timeout=60)
    (line,) = [line for line in errors.splitlines() if "NOT SENT" in line]
    assert "3 calls were NOT SENT" in line
    assert all(task_id in line for task_id in out.split())
    assert len(out.split()) == 3


def test_a_process_that_ends_waits_for_the_broker(own_redis: PrivateRedis) -> None:
    own_redis.stop()
    process = ending_program(own_redis.url, 60)
    assert process.stdout is not None
    ids = process.stdout.readline().split()
    own_redis.start()
    _, errors = process.communicate(timeout=60)
    assert "NOT SENT" not in errors
    app = program(own_redis.url)
    assert asyncio.run(claimed_ids(app)) == ids
    app.close()
