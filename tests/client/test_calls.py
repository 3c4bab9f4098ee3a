"""From a call to the message that the broker gets."""

from __future__ import annotations

import asyncio
import os
import re
import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from celeriac import Celeriac, Task
from celeriac.client.context import Request, current_request
from celeriac.core.effects import Invoke
from celeriac.core.message import Message
from celeriac.exceptions import ArgumentError, ImproperlyConfigured, MessageTooLarge
from celeriac.wire import task_v2
from tests.client.recording import RecordingBackend, RecordingBroker


@pytest.fixture
def add(app: Celeriac) -> Task[[int, int], int]:
    @app.task(name="shop.add")
    def add(x: int, y: int = 2) -> int:
        return x + y

    return add


def body_of(message: Message) -> tuple[list[Any], dict[str, Any], task_v2.Embed]:
    args, kwargs, embed = task_v2.decode_body(message, ("json",))
    return list(args), kwargs, embed


def only(broker: RecordingBroker) -> Message:
    (message,) = broker.sent.messages
    return message


def test_delay(add: Any, broker: RecordingBroker) -> None:
    result = add.delay(1, y=5)
    message = only(broker)
    assert message.queue == "celery"
    assert message.task == "shop.add"
    assert message.id == result.id
    assert uuid.UUID(result.id).version == 7
    assert body_of(message)[:2] == ([1], {"y": 5})
    assert message.headers["root_id"] == result.id
    assert "parent_id" not in message.headers
    assert message.headers["ignore_result"] is False
    assert "timelimit" not in message.headers
    assert re.fullmatch(rf"gen{os.getpid()}@.+", message.headers["origin"])
    assert message.not_before is None
    assert 0 < broker.sent.timeouts_s[0] <= 5


def test_all_options_of_a_call(add: Any, broker: RecordingBroker) -> None:
    before = time.time()
    add.apply_async(
        (1, 2),
        countdown=30,
        expires=timedelta(minutes=1),
        queue="mail",
        priority=4,
        task_id="my-id",
        headers={"tenant": 7},
        ignore_result=True,
        link=add.s(9),
        link_error=[add.si(1), {"task": "other", "args": [], "kwargs": {}, "options": {}}],
        time_limit=20,
        soft_time_limit=10,
        shadow="shown",
        reply_to="here",
        compression="gzip",
    )
    message = only(broker)
    headers = message.headers
    assert message.queue == "mail"
    assert message.id == "my-id"
    assert message.priority == 4
    assert message.not_before is not None
    assert before + 30 <= message.not_before <= time.time() + 30
    assert before + 60 <= datetime.fromisoformat(headers["expires"]).timestamp() <= time.time() + 60
    assert headers["tenant"] == 7
    assert headers["ignore_result"] is True
    assert headers["timelimit"] == [20, 10]
    assert headers["shadow"] == "shown"
    assert headers["compression"] == "application/x-gzip"
    assert message.properties["reply_to"] == "here"
    args, kwargs, embed = body_of(message)
    assert (args, kwargs) == ([1, 2], {})
    assert embed.callbacks == [
        {"task": "shop.add", "args": [9], "kwargs": {}, "options": {}, "subtask_type": None, "immutable": False}
    ]
    assert embed.errbacks is not None
    assert [errback["task"] for errback in embed.errbacks] == ["shop.add", "other"]


@pytest.mark.parametrize(
    "eta",
    [datetime(2100, 1, 1), datetime(2100, 1, 1, tzinfo=UTC), datetime(2100, 1, 1).astimezone(UTC)],  # noqa: DTZ001
)
def test_eta(add: Any, broker: RecordingBroker, eta: datetime) -> None:
    add.apply_async((1,), eta=eta)
    expected = (eta if eta.tzinfo else eta.replace(tzinfo=UTC)).timestamp()
    assert only(broker).not_before == expected


@pytest.mark.parametrize("expires", [10, 10.0, timedelta(seconds=10), "soon"])
def test_expires_in_every_spelling(add: Any, broker: RecordingBroker, expires: Any) -> None:
    if expires == "soon":
        expires = datetime.fromtimestamp(time.time() + 10, UTC).isoformat()
    add.apply_async((1,), expires=expires)
    left_s = datetime.fromisoformat(only(broker).headers["expires"]).timestamp() - time.time()
    assert 5 < left_s <= 10


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"countdwon": 1}, TypeError, r"unknown option 'countdwon'; did you mean 'countdown'\?"),
        ({"producer": object()}, TypeError, "'producer' is not supported"),
        ({"connection": object()}, TypeError, "'connection' is not supported"),
        ({"countdown": 1, "eta": datetime(2100, 1, 1, tzinfo=UTC)}, TypeError, "either countdown or eta"),
        ({"link": "add"}, TypeError, "take signatures"),
        ({"expires": object()}, TypeError, "expires takes"),
        ({"headers": {"id": 1}}, ArgumentError, "header 'id' belongs"),
        ({"retry_policy": {"max": 1}}, TypeError, "no key 'max'"),
    ],
)
def test_wrong_options(
    add: Any, broker: RecordingBroker, options: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        add.apply_async((1,), **options)
    assert broker.sent.batches == []


def test_a_message_that_is_too_large(app: Celeriac, add: Any, broker: RecordingBroker) -> None:
    app.conf.task_message_max_bytes = 100
    with pytest.raises(MessageTooLarge, match="task_message_max_bytes"):
        add.delay(1, "x" * 200)
    assert broker.sent.batches == []


def test_options_of_the_task_travel(app: Celeriac, broker: RecordingBroker) -> None:
    @app.task(queue="mail", priority=3, time_limit=20, soft_time_limit=10, expires=60, ignore_result=True)
    def send() -> None: ...

    result = send.delay()
    message = only(broker)
    assert (message.queue, message.priority) == ("mail", 3)
    assert message.headers["timelimit"] == [20, 10]
    assert message.headers["expires"] is not None
    assert message.headers["ignore_result"] is True
    assert result.ignored
    assert result.get() is None
    send.apply_async(queue="other", ignore_result=False, priority=0)
    message = broker.sent.messages[-1]
    assert (message.queue, message.priority, message.headers["ignore_result"]) == ("other", 0, False)


def test_send_task_by_name(app: Celeriac, add: Any, broker: RecordingBroker) -> None:
    app.send_task("far.away", (1,), {"y": 2}, queue="far")
    app.send_task("shop.add", ("no", "check", "here"))

    async def send() -> None:
        await app.asend_task("far.away", countdown=5)

    asyncio.run(send())
    first, second, third = broker.sent.messages
    assert (first.task, first.queue, first.headers["ignore_result"]) == ("far.away", "far", None)
    assert body_of(second)[0] == ["no", "check", "here"]
    assert third.not_before is not None


# -- routes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "own_queue", "expected"),
    [
        ("shop.charge", None, "exact"),
        ("shop.mail.send", None, "glob"),
        ("shop.mail.send", "mine", "mine"),
        ("web.fetch", None, "fetching"),
        ("other", None, "standard"),
    ],
)
def test_routes(app: Celeriac, name: str, own_queue: str | None, expected: str) -> None:
    app.conf.update(
        task_default_queue="standard",
        task_routes={
            "shop.*": {"queue": "glob"},
            "shop.charge": "exact",
            "web.*": {"queue": "fetching", "priority": 5},
        },
    )

    @app.task(name=name, queue=own_queue)
    def task() -> None: ...

    route = task.defaults.route
    assert route is not None
    assert route.queue == expected


def test_a_route_may_set_the_priority(app: Celeriac, add: Any, broker: RecordingBroker) -> None:
    app.conf.task_routes = {"shop.*": {"queue": "q", "priority": 5}}
    add.delay(1)
    add.apply_async((1,), priority=1)
    app.send_task("shop.other")
    assert [(message.queue, message.priority) for message in broker.sent.messages] == [("q", 5), ("q", 1), ("q", 5)]


def test_a_wrong_route_is_named(app: Celeriac, add: Any) -> None:
    app.conf.task_routes = {"shop.add": {"que": "x"}}
    with pytest.raises(ImproperlyConfigured, match=r"task_routes: the entry for task 'shop.add'"):
        add.delay(1)


# -- in a task --------------------------------------------------------------------------------------------------------


def test_what_a_task_sends_belongs_to_it(app: Celeriac, add: Any, broker: RecordingBroker) -> None:
    request = Request(id="parent", root_id="root", task="any", called_directly=False, reply_to="back")
    token = current_request.set(request)
    try:
        result = add.delay(1)
        add.apply_async((1,), add_to_parent=False, root_id="r", parent_id="p")
    finally:
        current_request.reset(token)
    first, second = broker.sent.messages
    assert (first.headers["root_id"], first.headers["parent_id"]) == ("root", "parent")
    assert first.properties["reply_to"] == "back"
    assert (second.headers["root_id"], second.headers["parent_id"]) == ("r", "p")
    assert request.children == [[[result.id, None], None]]


def test_request_from_a_message(app: Celeriac, add: Any, broker: RecordingBroker) -> None:
    add.apply_async((1,), headers={"tenant": 7}, queue="q", priority=2, link=add.s())
    message = only(broker)
    args, kwargs, embed = body_of(message)
    request = Request.from_message(message, args, kwargs, embed, hostname="node", redelivered=True)
    assert request.id == message.id
    assert request.headers == {"tenant": 7}
    assert request.tenant == 7  # type: ignore[attr-defined]
    assert request.get("tenant") == 7
    assert request.get("nothing", 3) == 3
    assert request.delivery_info == {"exchange": "", "routing_key": "q", "priority": 2, "redelivered": True}
    assert request.callbacks is not None
    assert not request.called_directly
    with pytest.raises(AttributeError, match="nothing"):
        assert request.nothing  # type: ignore[attr-defined]


def invoke(signature: dict[str, Any], **more: Any) -> Invoke:
    return Invoke(signature, ("value",), "0192f0c1-0000-7000-8000-000000000001", "root", **more)


def test_follow_ups_have_the_same_id_each_time(app: Celeriac, add: Any) -> None:
    first = app.message_from_invoke(invoke(dict(add.s(1))))
    again = app.message_from_invoke(invoke(dict(add.s(1))))
    other = app.message_from_invoke(invoke(dict(add.s(2))))
    twin = app.message_from_invoke(invoke(dict(add.s(1))), index=1)
    assert first.id == again.id
    assert len({first.id, other.id, twin.id}) == 3
    assert uuid.UUID(first.id).version == 5
    assert body_of(first)[0] == ["value", 1]
    assert (first.headers["parent_id"], first.headers["root_id"]) == ("0192f0c1-0000-7000-8000-000000000001", "root")


def test_follow_ups_honour_their_signature(app: Celeriac, add: Any) -> None:
    signature = add.si(1).set(queue="q", countdown=60, task_id="mine", priority=3)
    signature.link(add.s(5))
    step = dict(add.s(8))
    message = app.message_from_invoke(invoke(dict(signature), chain=[step]), reply_to="back")
    args, _kwargs, embed = body_of(message)
    assert args == [1]
    assert (message.id, message.queue, message.priority) == ("mine", "q", 3)
    assert message.not_before is not None
    assert embed.callbacks is not None
    assert embed.callbacks[0]["args"] == [5]
    assert embed.chain == [step]
    assert message.properties["reply_to"] == "back"
    unknown = app.message_from_invoke(
        invoke({"task": "far.away", "args": [], "kwargs": {}, "options": {"stamped_headers": []}})
    )
    assert unknown.task == "far.away"


def test_the_parent_may_have_an_id_of_the_callers_making(app: Celeriac, add: Any) -> None:
    one = Invoke(dict(add.s(1)), ("v",), "order-17", "order-17")
    assert app.message_from_invoke(one).id == app.message_from_invoke(one).id


def test_a_retry_beside_the_running_task(app: Celeriac, broker: RecordingBroker) -> None:
    @app.task(bind=True, name="shop.charge", default_retry_delay=60)
    def charge(self: Task[..., Any], order_id: int) -> str:
        self.retry(throw=False, kwargs={"order_id": 2})
        return "went on"

    charge.apply_async((1,), headers={"tenant": 7}, queue="q", link=charge.s(4))
    message = only(broker)
    args, kwargs, embed = body_of(message)
    request = Request.from_message(message, args, kwargs, embed, hostname="node", redelivered=False)
    token = current_request.set(request)
    try:
        assert charge.run(1) == "went on"
    finally:
        current_request.reset(token)
    again = broker.sent.messages[-1]
    assert (again.id, again.queue, again.headers["retries"], again.headers["tenant"]) == (message.id, "q", 1, 7)
    assert again.not_before is not None
    assert again.not_before > time.time() + 50
    args, kwargs, embed = body_of(again)
    assert (list(args), kwargs) == ([2], {})  # by name, it takes the place of the argument by position
    assert embed.callbacks is not None


# -- states of its own ------------------------------------------------------------------------------------------------


def test_update_state(app: Celeriac, backend: RecordingBackend) -> None:
    reported: list[tuple[str, Any]] = []

    @app.task(bind=True, name="shop.charge")
    def charge(self: Task[..., Any]) -> None:
        self.update_state(state="PROGRESS", meta={"done": 1})
        self.update_state(task_id="other", state="PROGRESS", meta=2)

    request = Request(
        id="x", task=charge.name, called_directly=False, report=lambda state, meta: reported.append((state, meta))
    )
    token = current_request.set(request)
    try:
        charge.run()
    finally:
        current_request.reset(token)
    assert reported == [("PROGRESS", {"done": 1})]
    other = app.AsyncResult("other")
    assert (other.state, other.info, other.ready()) == ("PROGRESS", 2, False)
    with pytest.raises(RuntimeError, match="called directly"):
        charge()


def test_a_message_that_is_not_sent(app: Celeriac, add: Any, broker: RecordingBroker) -> None:
    step = dict(add.s(3))
    message = app.message("shop.add", (1,), None, {"queue": "q"}, parent_id="p", root_id="r", chain=[step])
    assert (message.queue, message.headers["parent_id"], message.headers["root_id"]) == ("q", "p", "r")
    assert body_of(message)[2].chain == [step]
    assert app.message("far.away").queue == "celery"
    assert broker.sent.batches == []
