"""What remote control asks of a worker on RabbitMQ, where the server has a say in it."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from amqp import Connection as OtherConnection
from amqp import Message as OtherMessage
from amqp.exceptions import NotFound

from celeriac import Celeriac
from celeriac.torture.servers.service import wait_until
from celeriac.worker.worker import EmbeddedWorker

NODE = "one@here"


@pytest.fixture
def app(rabbit_url: str) -> Iterator[Celeriac]:
    with Celeriac("changes", broker=rabbit_url, backend="memory://") as app:
        app.task(name="add", executor="thread")(lambda x, y: x + y)
        yield app


def connected(url: str) -> OtherConnection:
    """Another client of the same vhost."""
    host, _, vhost = url.partition("@")[2].partition("/")
    return OtherConnection(host, virtual_host=vhost)


def ask(app: Celeriac, command: str, /, **arguments: Any) -> Any:
    """Return what the one worker answers."""
    (reply,) = app.control.broadcast(command, arguments, destination=[NODE], reply=True, timeout=30.0) or [{}]
    return reply.get(NODE)


def test_a_queue_that_the_broker_refuses_keeps_no_worker_from_coming_back(app: Celeriac, rabbit_url: str) -> None:
    def consumed() -> set[str]:
        return {queue["name"] for queue in ask(app, "active_queues")}

    with connected(rabbit_url) as other, EmbeddedWorker(app, hostname=NODE, concurrency=0, threads=1) as worker:
        other.channel().queue_declare("somebodys", exclusive=True)
        before = consumed()
        assert ask(app, "add_consumer", queue="somebodys") == {"ok": "add consumer somebodys"}
        assert ask(app, "add_consumer", queue="mine")["ok"]
        wait_until(lambda: consumed() == before | {"mine"}, "the queue of another connection is left out")
        core, loop = worker._worker.core, worker._worker._loop
        assert core is not None
        assert loop is not None
        loop.call_soon_threadsafe(core._link.down, ConnectionError("by a test"))
        assert app.tasks["add"].apply_async((1, 2), queue="mine").get(timeout=30) == 3


def test_replies_go_where_clients_look_for_them_and_nowhere_else(
    app: Celeriac, rabbit_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Else whoever sends requests could have each worker make exchanges without end."""

    def letter(exchange: str, routing_key: str) -> OtherMessage:
        reply_to = {"exchange": exchange, "routing_key": routing_key}
        body = {"method": "ping", "arguments": {}, "ticket": "1", "reply_to": reply_to}
        return OtherMessage(json.dumps(body), content_type="application/json", content_encoding="utf-8")

    with EmbeddedWorker(app, hostname=NODE, concurrency=0, threads=1), connected(rabbit_url) as other:
        channel = other.channel()
        for place in (("elsewhere", "key"), ("\ud800", "key"), ("reply.celery.pidbox", "k" * 300)):
            channel.basic_publish(letter(*place), "celery.pidbox")
        assert ask(app, "ping") == {"ok": "pong"}
        with pytest.raises(NotFound):
            channel.exchange_declare("elsewhere", "direct", passive=True)
    assert "wants its reply in elsewhere, not in reply.celery.pidbox" in caplog.text
    assert "never retrieved" not in caplog.text


def test_a_rate_for_all_workers_needs_no_place_that_keeps_it(app: Celeriac, caplog: pytest.LogCaptureFixture) -> None:
    with EmbeddedWorker(app, hostname=NODE, concurrency=0, threads=1), caplog.at_level(logging.WARNING):
        replies = app.control.rate_limit("add", "100/s", reply=True, timeout=30.0, limit=1)
        assert replies == [{NODE: {"ok": "new rate limit set successfully"}}]
        assert ask(app, "registered") == ["add [rate_limit=100/s]"]
        assert app.tasks["add"].delay(1, 2).get(timeout=30) == 3
    assert "the rate of add holds for each worker by itself" in caplog.text
