"""Sending workflows: what is checked before, what goes in the one batch, and what the caller gets."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from celeriac import AsyncResult, Celeriac, canvas
from celeriac.client import current, signals
from celeriac.client.context import Request, current_request
from celeriac.core.message import Message
from celeriac.exceptions import ArgumentError, BackendUnavailable, BrokerUnavailable, EncodeError, ImproperlyConfigured
from celeriac.result import GroupResult
from celeriac.wire import chord_part, task_v2
from celeriac.wire.json_text import MAX_DEPTH
from tests.client.recording import RecordingBackend, RecordingBroker

chain: Any = canvas.chain
chord: Any = canvas.chord
chunks: Any = canvas.chunks
group: Any = canvas.group
signature: Any = canvas.signature

Send = Callable[..., Any]


def add(x: int, y: int = 0) -> int:
    return x + y


def total(numbers: list[int]) -> int:
    return sum(numbers)


def make_app(broker: Any, backend: Any, **settings: Any) -> Celeriac:
    app = Celeriac("shop", broker=broker, backend=backend, **settings)
    app.task(name="add")(add)
    app.task(name="total")(total)
    app.task(name="quiet", ignore_result=True)(add)
    return app


@pytest.fixture
def broker() -> RecordingBroker:
    return RecordingBroker()


@pytest.fixture
def app(broker: RecordingBroker) -> Iterator[Celeriac]:
    with current.kept(), make_app(broker, "memory://") as app:
        yield app


def blocking(workflow: Any, *args: Any, **options: Any) -> Any:
    return workflow.apply_async(*args, **options)


def awaiting(workflow: Any, *args: Any, **options: Any) -> Any:
    return asyncio.run(workflow.aapply_async(*args, **options))


@pytest.fixture(params=[blocking, awaiting])
def send(request: pytest.FixtureRequest) -> Send:
    """Each way of sending."""
    way: Send = request.param
    return way


def s(app: Celeriac, *args: Any, **options: Any) -> Any:
    return app.signature("add", args, **options)


def body_of(message: Message) -> tuple[Any, Any, task_v2.Embed]:
    return task_v2.decode_body(message, ("json",))


# -- messages ---------------------------------------------------------------------------------------------------------


def test_a_chain_is_one_message_with_the_rest_in_it(app: Celeriac, broker: RecordingBroker, send: Send) -> None:
    result = send(chain(s(app, 1), s(app, 2), s(app, 3)))
    (message,) = broker.sent.messages
    args, _kwargs, embed = body_of(message)
    assert args == [1]
    assert embed.chain is not None
    assert [(step["args"], step["options"]["task_id"]) for step in embed.chain] == [
        ([3], result.id),
        ([2], result.parent.id),
    ]
    assert (message.headers["id"], message.headers["root_id"]) == (result.parent.parent.id, message.headers["id"])


def test_a_group_is_one_batch(app: Celeriac, broker: RecordingBroker, send: Send) -> None:
    result = send(group(s(app, number) for number in range(5)))
    (batch,) = broker.sent.batches
    assert [message.headers["id"] for message in batch] == [member.id for member in result.results]
    assert [message.headers["group_index"] for message in batch] == [0, 1, 2, 3, 4]
    assert {message.headers["group"] for message in batch} == {result.id}


def test_a_chord_is_open_before_its_members_are_sent(app: Celeriac, broker: RecordingBroker, send: Send) -> None:
    seen: list[Any] = []

    def look(**_about: Any) -> None:
        seen.append([(chord.group_id, chord.size) for chord in app._reader.chords()])

    signals.before_task_publish.connect(look, weak=False)
    try:
        result = send(chord([s(app, 1), s(app, 2)], app.signature("total")))
    finally:
        signals.before_task_publish.disconnect(look)
    assert seen == [[(result.parent.id, 2)]] * 2
    (state,) = app._reader.chords()
    body = chord_part.decode_body(state.body, ("json",))
    assert body["options"] == {"task_id": result.id, "group_id": result.parent.id}
    for message in broker.sent.messages:
        assert body_of(message)[2].chord == body


def test_nothing_is_sent_for_an_empty_group(app: Celeriac, broker: RecordingBroker, send: Send) -> None:
    result = send(group())
    assert (result.results, broker.sent.batches) == ([], [])
    assert send(chain()) is None
    assert broker.sent.batches == []


def test_a_chord_of_nothing_is_its_body(app: Celeriac, broker: RecordingBroker, send: Send) -> None:
    result = send(chord([], app.signature("total")))
    (message,) = broker.sent.messages
    assert body_of(message)[0] == [[]]
    assert (message.headers["id"], app._reader.chords()) == (result.id, [])


def test_unknown_tasks_are_sent_by_their_names(app: Celeriac, broker: RecordingBroker, send: Send) -> None:
    app.conf.task_routes = {"elsewhere.*": "far"}
    send(group(app.signature("elsewhere.do", (1,)), s(app, 2)))
    assert [message.queue for message in broker.sent.messages] == ["far", "celery"]


def test_calls_with_arguments(app: Celeriac, broker: RecordingBroker) -> None:
    workflow = group(s(app, 1), s(app, 2))
    workflow.delay(7)
    workflow(8, queue="q")
    workflow.apply_async((), {"y": 9})
    asyncio.run(workflow.adelay(6))
    assert [body_of(message)[0] for message in broker.sent.messages] == [
        [7, 1], [7, 2], [8, 1], [8, 2], [1], [2], [6, 1], [6, 2]
    ]  # fmt: skip
    assert [message.queue for message in broker.sent.messages[2:4]] == ["q", "q"]
    assert body_of(broker.sent.messages[4])[1] == {"y": 9}


def test_the_body_can_come_with_the_call(app: Celeriac, broker: RecordingBroker) -> None:
    workflow = chord([s(app, 1)])
    result = workflow(app.signature("total"))
    other = chord([s(app, 1)], s(app))(app.signature("total"), queue="q")
    assert workflow.body is None
    for message, sent in zip(broker.sent.messages, (result, other), strict=True):
        body = body_of(message)[2].chord
        assert body is not None
        assert (body["task"], body["options"]["task_id"]) == ("total", sent.id)
    assert broker.sent.messages[1].queue == "q"


def test_options_of_celery_s_polling_are_accepted(app: Celeriac, broker: RecordingBroker, send: Send) -> None:
    send(chord([s(app, 1)], app.signature("total")), interval=5, max_retries=3)
    (message,) = broker.sent.messages
    body = body_of(message)[2].chord
    assert body is not None
    assert body["options"].keys() == {"task_id", "group_id"}


def test_chunks_are_a_group(app: Celeriac, broker: RecordingBroker, send: Send) -> None:
    result = send(app.tasks["add"].chunks([(1, 2), (3, 4), (5, 6)], 2))
    assert isinstance(result, GroupResult)
    assert [message.task for message in broker.sent.messages] == ["celery.starmap", "celery.starmap"]
    assert body_of(broker.sent.messages[1])[1]["it"] == [[5, 6]]
    assert isinstance(chunks.apply_chunks(s(app), [(1, 2)], 1, app=app), GroupResult)


def test_each_sending_has_ids_of_its_own(app: Celeriac, broker: RecordingBroker) -> None:
    workflow = chain(s(app, 1), group(s(app, 2), s(app, 3)), app.signature("total"))
    before = repr(workflow), dict(workflow.options)
    first, second = workflow.apply_async(), workflow.apply_async()
    assert {first.id, *first.parent.as_list()}.isdisjoint({second.id, *second.parent.as_list()})
    assert before == (repr(workflow), workflow.options)


def test_a_frozen_workflow_is_sent_under_its_ids(app: Celeriac, broker: RecordingBroker) -> None:
    workflow = chain(s(app, 1), group(s(app, 2), s(app, 3)), app.signature("total"))
    frozen = workflow.freeze()
    assert workflow.apply_async().as_tuple() == frozen.as_tuple()


def test_an_id_for_the_end(app: Celeriac, send: Send) -> None:
    assert send(chain(s(app, 1), s(app)), task_id="T").id == "T"
    assert send(group(s(app, 1)), task_id="T").id == "T"
    assert send(chord([s(app, 1)], app.signature("total")), task_id="T").id == "T"
    assert send(chain(s(app, 1), group(s(app))), task_id="T").id == "T"


# -- results ----------------------------------------------------------------------------------------------------------


def test_results_know_what_they_come_from(app: Celeriac, send: Send) -> None:
    result = send(chain(s(app, 1), group(s(app), chain(s(app), s(app))), app.signature("total"), s(app)))
    assert (type(result), type(result.parent), type(result.parent.parent)) == (AsyncResult, AsyncResult, GroupResult)
    header = result.parent.parent
    assert [member.parent is not None for member in header.results] == [False, True]
    assert header.parent.parent is None
    assert {each.app for each in (result, header, header.parent, *header.results)} == {app}


def test_a_result_that_is_not_kept_is_not_waited_for(app: Celeriac, send: Send) -> None:
    quiet = app.signature("quiet", (1,))
    assert send(chain(s(app, 1), quiet)).get(timeout=5) is None
    assert send(group(quiet, quiet)).get(timeout=5) == [None, None]
    assert send(group(s(app, 1), s(app, 2)), ignore_result=True).get(timeout=5) == [None, None]


def test_a_chain_of_a_thousand(app: Celeriac, broker: RecordingBroker) -> None:
    result = chain(s(app, number) for number in range(1000)).apply_async()
    assert len(result.as_list()) == 1000
    (message,) = broker.sent.messages
    assert len(body_of(message)[2].chain or ()) == 999


def test_what_a_task_sends_are_its_children(app: Celeriac, send: Send) -> None:
    request = Request(id="parent", root_id="root", called_directly=False, owner=app.tasks["add"])

    async def call_in_task(workflow: Any) -> Any:
        token = current_request.set(request)
        try:
            return await workflow.aapply_async() if send is awaiting else workflow.apply_async()
        finally:
            current_request.reset(token)

    steps = asyncio.run(call_in_task(chain(s(app, 1), s(app, 2))))
    members = asyncio.run(call_in_task(group(s(app, 1))))
    bound = asyncio.run(call_in_task(chord([s(app, 1)], app.signature("total"))))
    assert request.children == [
        [[steps.parent.id, None], None],
        [[members.id, None], [[[members.results[0].id, None], None]]],
        [[bound.parent.id, None], [[[bound.parent.results[0].id, None], None]]],
    ]


def test_what_a_task_sends_belongs_to_it(app: Celeriac, broker: RecordingBroker) -> None:
    token = current_request.set(Request(id="parent", root_id="root", called_directly=False))
    try:
        group(s(app, 1), s(app, 2)).apply_async()
    finally:
        current_request.reset(token)
    assert {(m.headers["parent_id"], m.headers["root_id"]) for m in broker.sent.messages} == {("parent", "root")}


# -- what is refused --------------------------------------------------------------------------------------------------

WRONG = {
    "first task": lambda app: chain(s(app), s(app)),
    "member": lambda app: group(s(app, 1), s(app)),
    "immutable step": lambda app: chain(s(app, 1), app.signature("add", (), immutable=True)),
    "immutable member of a later group": lambda app: s(app, 1) | group(app.signature("add", (), {"z": 1}, immutable=True)),
    "immutable body": lambda app: chord([s(app, 1)], app.signature("total", (), immutable=True)),
    "body of nothing": lambda app: chord([], app.signature("total", (1, 2))),
}  # fmt: skip


@pytest.mark.parametrize("make", WRONG.values(), ids=WRONG.keys())
def test_arguments_are_checked_before_anything_is_sent(
    app: Celeriac, broker: RecordingBroker, send: Send, make: Callable[[Celeriac], Any]
) -> None:
    with pytest.raises(ArgumentError):
        send(make(app))
    assert (broker.sent.batches, app._reader.chords()) == ([], [])


def test_what_can_t_be_written_is_refused_before_anything_is_sent(
    app: Celeriac, broker: RecordingBroker, send: Send
) -> None:
    for workflow in (chord([s(app, 1), s(app, object())], app.signature("total")), chain(s(app, 1), s(app, object()))):
        with pytest.raises((ArgumentError, EncodeError)):
            send(workflow)
    assert (broker.sent.batches, app._reader.chords()) == ([], [])


def test_what_is_nested_too_deeply(app: Celeriac, broker: RecordingBroker, send: Send) -> None:
    workflow = s(app, 1)
    for _ in range(MAX_DEPTH // 5):
        workflow = chain(s(app, 1), group(workflow, s(app, 2)))
    with pytest.raises(
        EncodeError, match=r"what follows task 'add' in its workflow is nested too deeply .*self\.replace"
    ):
        send(workflow)
    deep: Any = 1
    for _ in range(2 * MAX_DEPTH):
        deep = [deep]
    with pytest.raises((ArgumentError, EncodeError), match="nested"):
        send(chain(s(app, deep), s(app, 2)))
    assert broker.sent.batches == []


def test_a_chord_needs_a_body(app: Celeriac, broker: RecordingBroker, send: Send) -> None:
    with pytest.raises(TypeError, match="this chord has no body"):
        send(chord([s(app, 1)]))
    assert broker.sent.batches == []


def test_a_group_has_no_links(app: Celeriac, broker: RecordingBroker, send: Send) -> None:
    for name in ("link", "link_error"):
        with pytest.raises(TypeError, match=f"a group has no {name}"):
            send(group(s(app, 1)), **{name: s(app)})
    assert broker.sent.batches == []


def test_options_are_checked(app: Celeriac, broker: RecordingBroker, send: Send) -> None:
    with pytest.raises(TypeError, match="unknown option 'quue'; did you mean 'queue'"):
        send(group(s(app, 1)), quue="q")
    with pytest.raises(TypeError, match="calling task 'total': unknown option 'quue'"):
        send(chain(s(app, 1), app.signature("total", (), quue="q")))
    with pytest.raises(TypeError, match="calling task 'add': option priority='high'"):
        send(chain(s(app, 1), group(s(app, 1), s(app, 2, priority="high"))))
    with pytest.raises(TypeError, match="unique is an option of single tasks"):
        send(group(s(app, 1)), unique=True)
    assert broker.sent.batches == []


def test_a_broker_that_is_away(app: Celeriac, broker: RecordingBroker, send: Send) -> None:
    broker.sent.failures = [BrokerUnavailable("refused")]
    with pytest.raises(BrokerUnavailable, match=r"and 1 more.* was not sent"):
        send(group(s(app, 1), s(app, 2)), retry=False)
    broker.sent.failures = [BrokerUnavailable("refused")]
    send(group(s(app, 1), s(app, 2)), retry_policy={"max_retries": 1})
    assert len(broker.sent.messages) == 2


@pytest.mark.parametrize("stores", [True, False], ids=["results are sent", "no results"])
def test_a_chord_needs_a_backend_that_counts(broker: RecordingBroker, stores: bool, send: Send) -> None:
    with current.kept(), make_app(broker, RecordingBackend(stores=stores)) as app:
        for workflow in (
            chord([s(app, 1)], app.signature("total")),
            chain(group(s(app, 1)), s(app)),
            chain(s(app, 1), chord([s(app)], app.signature("total"))),
            group(chain(s(app, 1), group(s(app)), s(app))),
        ):
            with pytest.raises(ImproperlyConfigured, match="needs a result backend that counts"):
                send(workflow)
    assert broker.sent.batches == []


def test_workflows_without_chords_need_none(broker: RecordingBroker, send: Send) -> None:
    with current.kept(), make_app(broker, RecordingBackend(stores=False)) as app:
        send(chain(s(app, 1), s(app), group(s(app), s(app))))
        send(chord([], app.signature("total")))
    assert len(broker.sent.messages) == 2


def test_a_backend_that_is_away_stops_a_chord(broker: RecordingBroker, send: Send) -> None:
    with current.kept(), make_app(broker, Away()) as app:
        with pytest.raises(BackendUnavailable):
            send(chord([s(app, 1)], app.signature("total")))
        send(chord([], app.signature("total")))
    assert len(broker.sent.messages) == 1


class Away(RecordingBackend):
    """A backend that counts, but can't be reached."""

    counts_chords = True

    def reader(self) -> Any:
        return self

    def open_chords(self, _openings: Any) -> None:
        raise BackendUnavailable("refused")

    def close(self) -> None:
        """There is nothing to close."""


def test_the_reply_queue_is_known_to_every_step(broker: RecordingBroker, send: Send) -> None:
    with current.kept(), make_app(broker, RecordingBackend(reply_to="replies")) as app:
        send(chain(s(app, 1), s(app), group(s(app), s(app))))
    (message,) = broker.sent.messages
    assert message.properties["reply_to"] == "replies"
    rest = body_of(message)[2].chain
    assert rest is not None
    last, second = rest
    assert second["options"]["reply_to"] == "replies"
    assert {task["options"]["reply_to"] for task in last["kwargs"]["tasks"]} == {"replies"}


def test_errbacks_of_a_header(broker: RecordingBroker) -> None:
    for wanted in (False, True):
        with (
            current.kept(),
            make_app(RecordingBroker(), "memory://", task_allow_error_cb_on_chord_header=wanted) as app,
        ):
            bound = chord([s(app, 1)], app.signature("total"))
            bound.link_error(s(app))
            bound.apply_async()
            bound.apply_async(link_error=s(app, 9))
            sent = app.broker.sent.messages  # type: ignore[attr-defined]
        found = [[errback["args"] for errback in body_of(message)[2].errbacks or ()] for message in sent]
        assert found == ([[[]], [[], [9]]] if wanted else [[], []])


def test_signals_tell_of_each_message(app: Celeriac, send: Send) -> None:
    told: list[str] = []

    def hear(headers: dict[str, Any], **_about: Any) -> None:
        told.append(headers["id"])

    signals.after_task_publish.connect(hear, weak=False)
    try:
        result = send(group(s(app, 1), s(app, 2)))
    finally:
        signals.after_task_publish.disconnect(hear)
    assert told == [member.id for member in result.results]


def test_concurrent_coroutines_send_workflows(app: Celeriac, broker: RecordingBroker) -> None:
    async def many() -> list[Any]:
        calls: list[Awaitable[Any]] = [group(s(app, number), s(app, number)).adelay() for number in range(20)]
        return await asyncio.gather(*calls)

    results = asyncio.run(many())
    assert len({result.id for result in results}) == 20
    assert sorted(map(len, broker.sent.batches)) == [2] * 20
