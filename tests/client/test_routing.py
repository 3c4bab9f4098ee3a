"""Routes, queues and priorities as a program sets them up, and what they make of a call."""

from __future__ import annotations

import re
from typing import Any

import pytest

from celeriac import Celeriac
from celeriac.client.context import Request, current_request
from celeriac.core.message import Message
from celeriac.exceptions import ImproperlyConfigured, QueueNotFound
from celeriac.queues import Broadcast, Exchange, Queue
from celeriac.worker.queues import choose_queues
from tests.client.recording import RecordingBroker

asked: list[Any] = []


def by_tenant(name: str, args: Any, kwargs: Any, options: Any, task: Any = None, **kw: Any) -> Any:
    """A router that is asked for each call."""
    asked.append((name, args, kwargs, options, task.name if task else None))
    return {"queue": f"tenant-{args[0]}", "priority": 7} if args else None


class OldRouter:
    """A router as it was written before functions could be routers."""

    def route_for_task(self, task: str, args: Any = None, kwargs: Any = None) -> Any:
        return "old" if task == "shop.old" else None


def sent(broker: RecordingBroker) -> list[Message]:
    messages = broker.sent.messages
    broker.sent.batches = []
    return messages


def queues_of(broker: RecordingBroker) -> list[str]:
    return [message.queue for message in sent(broker)]


def test_routers_of_every_kind_in_their_order(app: Celeriac, broker: RecordingBroker) -> None:
    app.conf.task_routes = (
        {"shop.exact": "exact", re.compile(r"shop\.(a|b)$"): {"queue": "regex"}},
        f"{__name__}.by_tenant",
        f"{__name__}:OldRouter",
        [("shop.*", Queue("glob"))],
    )
    asked.clear()
    app.send_task("shop.exact", (1,))
    app.send_task("shop.b")
    assert not asked  # a map before it knew the task
    app.send_task("shop.any", ("acme",), countdown=5)
    app.send_task("shop.old")
    app.send_task("shop.new")
    app.send_task("other")
    messages = sent(broker)
    assert [message.queue for message in messages] == ["exact", "regex", "tenant-acme", "old", "glob", "celery"]
    assert messages[2].priority == 7
    assert asked[0] == ("shop.any", ("acme",), {}, {"countdown": 5}, None)


def test_who_decides(app: Celeriac, broker: RecordingBroker) -> None:
    """The call, then the task, then its route; and of the rest of the route what nobody says otherwise."""
    app.conf.task_routes = {"shop.*": {"queue": "route", "priority": 2, "time_limit": 50, "serializer": "msgpack"}}

    @app.task(name="shop.own", queue="task", priority=4, serializer="json")
    def own() -> None: ...

    @app.task(name="shop.plain")
    def plain() -> None: ...

    own.delay()
    own.apply_async(queue="call", priority=6, time_limit=60)
    plain.delay()
    plain.apply_async(serializer="json", expires=None)
    found = [(m.queue, m.priority, m.headers["timelimit"][0], m.content_type[12:]) for m in sent(broker)]
    assert found == [
        ("task", 4, 50, "json"),
        ("call", 6, 60, "json"),
        ("route", 2, 50, "x-msgpack"),
        ("route", 2, 50, "json"),
    ]


def test_a_route_may_delay_and_a_call_say_otherwise(app: Celeriac, broker: RecordingBroker) -> None:
    app.conf.task_routes = {"shop.*": {"countdown": 100}}
    app.send_task("shop.x")
    app.send_task("shop.x", countdown=1)
    late, soon = sent(broker)
    assert late.not_before is not None
    assert soon.not_before is not None
    assert late.not_before - soon.not_before > 90


def test_a_task_with_an_exchange(app: Celeriac, broker: RecordingBroker) -> None:
    @app.task(name="shop.news", exchange="news", routing_key="news.shop")
    def news() -> None: ...

    news.delay()
    news.apply_async(routing_key="news.other")
    news.apply_async(queue="plain")
    assert [(m.queue, m.exchange, m.routing_key) for m in sent(broker)] == [
        ("", "news", "news.shop"),
        ("", "news", "news.other"),
        ("plain", "", None),
    ]


@pytest.mark.parametrize(
    ("routes", "words"),
    [
        ("no.such.module", "'no.such.module' cannot be imported as a router"),
        (3, "3 is no router"),
        ([by_tenant, {"x": 3}], "the entry for task 'x' is 3"),
    ],
)
def test_wrong_routers_are_named(app: Celeriac, routes: Any, words: str) -> None:
    app.conf.task_routes = routes
    with pytest.raises(ImproperlyConfigured, match=words):
        app.send_task("shop.x")


def test_a_wrong_answer_of_a_router_is_named(app: Celeriac) -> None:
    app.conf.task_routes = lambda name, *args, **kw: {"que": "x"}
    with pytest.raises(ImproperlyConfigured, match=r"answer for task 'shop.x' has an unknown option 'que'"):
        app.send_task("shop.x")


def test_only_declared_queues(app: Celeriac, broker: RecordingBroker) -> None:
    app.conf.update(task_queues=[Queue("video", alias="v")], task_create_missing_queues=False)
    app.send_task("x", queue="v")
    assert queues_of(broker) == ["video"]
    with pytest.raises(QueueNotFound, match="queue 'celery' is not in the setting task_queues"):
        app.send_task("x")
    app.amqp.queues.add("celery")
    app.send_task("x")
    assert queues_of(broker) == ["celery"]


def test_amqp_queues_have_celerys_methods(app: Celeriac) -> None:
    app.conf.task_queues = {"a": {}, "b": {"exchange": "x", "exchange_type": "topic", "routing_key": "b.#"}}
    queues = app.amqp.queues
    assert list(queues.consume_from) == ["a", "b"]
    assert queues["b"].exchange == Exchange("x", "topic")
    queues.deselect("a")
    assert list(queues.consume_from) == ["b"]
    queues.select(["a", "new"])
    assert list(queues.consume_from) == ["a", "new"]
    queues.select_add("c", exchange="y", routing_key="c")
    assert list(queues.consume_from) == ["a", "new", "c"]
    assert "c" in queues
    assert "exchange=y(direct) key=c" in queues.format()
    app.select_queues("b")
    assert list(queues.consume_from) == ["b"]
    app.conf.task_create_missing_queues = False
    with pytest.raises(KeyError):
        queues["zzz"]


def test_amqp_tells_where_a_call_would_go(app: Celeriac) -> None:
    app.conf.task_routes = {"shop.*": {"queue": "glob", "priority": 3}}
    route = app.amqp.router.route({}, "shop.x")
    assert (route["queue"].name, route["priority"]) == ("glob", 3)
    assert app.amqp.router.route({"queue": "own"}, "shop.x")["queue"].name == "own"
    assert app.amqp.router.route({}, "x")["queue"] == app.amqp.default_queue
    assert app.amqp.default_exchange == Exchange("celery")


def test_what_a_worker_consumes(app: Celeriac) -> None:
    app.conf.update(
        task_queues=[Queue("a"), Queue("b", alias="bee"), Broadcast("all")], worker_queue_concurrency={"bee": 3, "a": 1}
    )
    assert choose_queues(app, (), ("a",)).names == ("b", "all")
    chosen = choose_queues(app, ("a:2", "bee", "x"), ())
    assert chosen.names == ("a", "b", "x")
    assert chosen.concurrency == {"a": 2, "b": 3}
    with pytest.raises(ImproperlyConfigured, match="leaves none"):
        choose_queues(app, ("a",), ("a",))
    with pytest.raises(ImproperlyConfigured, match="at least one task"):
        choose_queues(app, ("a:0",), ())
    app.conf.task_create_missing_queues = False
    with pytest.raises(QueueNotFound, match="'zzz'"):
        choose_queues(app, ("zzz",), ())


def test_a_parents_priority(app: Celeriac, broker: RecordingBroker) -> None:
    app.conf.update(task_inherit_parent_priority=True, task_default_priority=1)
    request = Request(id="parent", task="any", called_directly=False, delivery_info={"priority": 6})

    @app.task(name="shop.own", priority=4)
    def own() -> None: ...

    token = current_request.set(request)
    try:
        app.send_task("x")
        app.send_task("x", priority=2)
        own.delay()
    finally:
        current_request.reset(token)
    app.send_task("x")
    assert [message.priority for message in sent(broker)] == [6, 2, 4, 1]


def test_numbers_for_a_broker_that_hands_out_low_ones_first(app: Celeriac, broker: RecordingBroker) -> None:
    broker.urgent_first = "low"
    app.conf.task_default_priority = None
    app.send_task("x", priority=9)
    app.send_task("x", priority=2)
    app.send_task("x")
    app.conf.task_priority_direction = "celery"
    app.send_task("x", priority=9)
    assert [message.priority for message in sent(broker)] == [0, 7, 0, 9]


def test_a_priority_that_a_queue_cannot_heed_is_told_once(
    app: Celeriac, broker: RecordingBroker, caplog: pytest.LogCaptureFixture
) -> None:
    broker.urgent_first = "high"
    app.conf.task_queues = [Queue("levels", max_priority=9), Queue("quorum")]
    for queue in ("levels", "quorum", "quorum"):
        app.send_task("x", queue=queue, priority=3)
    (record,) = caplog.records
    assert "queue 'quorum' of RabbitMQ is not declared with any" in record.getMessage()
