"""Many calls at once: cut into batches, each checked before it is sent, and whatever fails, it is known what was accepted."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from celeriac import Celeriac, Unique, chain, group, signals
from celeriac.client.task import Task
from celeriac.exceptions import (
    ArgumentError,
    BrokerUnavailable,
    DuplicateTask,
    MessageTooLarge,
    PartlySent,
    PublishTimeout,
    Unroutable,
)
from tests.client.recording import RecordingBackend, RecordingBroker

Send = Callable[[Any, Any], list[Any]]


@pytest.fixture
def app(broker: RecordingBroker, backend: RecordingBackend) -> Iterator[Celeriac]:
    with Celeriac(
        "shop",
        broker=broker,
        backend=backend,
        coordination_url="memory://",
        publish_timeout_s=0.2,
        publish_batch_max=3,
    ) as app:
        yield app


@pytest.fixture
def add(app: Celeriac) -> Task[..., int]:
    @app.task(name="add")
    def add(x: int, y: int = 0) -> int:
        return x + y

    return add


@pytest.fixture(params=["delay_many", "adelay_many", "send_many", "asend_many"])
def send(request: pytest.FixtureRequest) -> Send:
    """Each way to send many calls of a task, given by lists of arguments."""

    def send(task: Task[..., int], calls: Any) -> list[Any]:
        match request.param:
            case "delay_many":
                return task.delay_many(calls)
            case "adelay_many":
                return asyncio.run(task.adelay_many(calls))
            case "send_many":
                return task.app.send_many(task.s(*args) for args in calls)
            case _:
                return asyncio.run(task.app.asend_many(task.s(*args) for args in calls))

    return send


def argument_batches(broker: RecordingBroker) -> list[list[str]]:
    return [[message.headers["argsrepr"] for message in batch] for batch in broker.sent.batches]


def ids(broker: RecordingBroker) -> list[str]:
    return [message.id for message in broker.sent.messages]


# -- what is sent ---------------------------------------------------------------------------------------------------------


def test_calls_go_in_batches_and_results_come_in_order(send: Send, add: Any, broker: RecordingBroker) -> None:
    results = send(add, [(n,) for n in range(7)])
    assert argument_batches(broker) == [["(0,)", "(1,)", "(2,)"], ["(3,)", "(4,)", "(5,)"], ["(6,)"]]
    assert [result.id for result in results] == ids(broker)
    assert len(set(ids(broker))) == 7


def test_nothing_is_no_batch(send: Send, add: Any, broker: RecordingBroker) -> None:
    assert send(add, []) == []
    assert broker.sent.batches == []
    assert broker.producers_made == 0


def test_an_iterable_is_read_as_its_calls_are_sent(send: Send, add: Any, broker: RecordingBroker) -> None:
    held = []

    def calls() -> Iterator[tuple[int]]:
        for n in range(20):
            held.append(n - len(broker.sent.messages))
            yield (n,)

    assert len(send(add, calls())) == 20
    assert max(held) == 2


def test_signals_are_sent_where_the_calls_come_from(add: Any, broker: RecordingBroker) -> None:
    threads = set()

    def note(**_said: Any) -> None:
        threads.add(threading.get_ident())

    signals.before_task_publish.connect(note)
    signals.after_task_publish.connect(note)
    try:
        add.delay_many((n,) for n in range(10))
    finally:
        signals.before_task_publish.disconnect(note)
        signals.after_task_publish.disconnect(note)
    assert threads == {threading.get_ident()}


def test_a_batch_has_so_many_bytes_at_most(send: Send, add: Any, app: Celeriac, broker: RecordingBroker) -> None:
    send(add, [(1,)])
    small = len(broker.sent.messages[0].body)
    broker.sent.batches.clear()
    app.conf.publish_batch_max_bytes = 2 * small
    large = 10**40  # its message alone is not over the limit, but with another one it is
    send(add, [(1,), (2,), (3,), (large,), (4,), (5,)])
    assert argument_batches(broker) == [["(1,)", "(2,)"], ["(3,)"], [f"({large},)"], ["(4,)", "(5,)"]]
    broker.sent.batches.clear()
    app.conf.publish_batch_max_bytes = 1
    send(add, [(1,), (2,)])
    assert argument_batches(broker) == [["(1,)"], ["(2,)"]]


def test_arguments_by_position_and_by_name(add: Any, broker: RecordingBroker) -> None:
    add.delay_many([(1, 2), [3], {"x": 4, "y": 5}])
    said = [(message.headers["argsrepr"], message.headers["kwargsrepr"]) for message in broker.sent.messages]
    assert said == [("(1, 2)", "{}"), ("(3,)", "{}"), ("()", "{'x': 4, 'y': 5}")]


@pytest.mark.parametrize("wrong", [1, "ab", None])
def test_what_is_no_arguments_is_named(add: Any, broker: RecordingBroker, wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"add.delay_many\(\) takes for each call a tuple"):
        add.delay_many([wrong])
    with pytest.raises(TypeError, match=r"app.send_many\(\.\.\.\)"):
        add.delay_many([add.s(1)])
    assert broker.sent.batches == []


def test_signatures_have_options_of_their_own(app: Celeriac, add: Any, broker: RecordingBroker) -> None:
    @app.task(name="note", ignore_result=True)
    def note(text: str) -> None: ...

    before = app.time_source.time()
    first, second, third = app.send_many(
        [
            add.s(1).set(queue="slow", priority=3),
            note.s("x").set(countdown=60),
            app.signature("elsewhere", (1,), task_id="own"),
        ]
    )
    one, two, three = broker.sent.messages
    assert [message.id for message in (one, two, three)] == [first.id, second.id, third.id]
    assert (one.queue, one.task, three.task, three.id) == ("slow", "add", "elsewhere", "own")
    assert two.not_before is not None
    assert two.not_before >= before + 60
    assert second.get() is None  # its result is ignored


def test_a_plain_dict_is_a_signature_too(app: Celeriac, add: Any, broker: RecordingBroker) -> None:
    app.send_many([dict(add.s(1, y=2))])  # type: ignore[list-item]
    assert broker.sent.messages[0].headers["kwargsrepr"] == "{'y': 2}"
    with pytest.raises(TypeError, match=r"app.send_many\(\) takes signatures"):
        app.send_many([1])  # type: ignore[list-item]


def test_calls_with_another_retry_policy_go_in_another_batch(app: Celeriac, add: Any, broker: RecordingBroker) -> None:
    app.send_many([add.s(1), add.s(2).set(retry=False), add.s(3).set(retry=False), add.s(4)])
    assert argument_batches(broker) == [["(1,)"], ["(2,)", "(3,)"], ["(4,)"]]


def test_chains_begin_in_the_batch(app: Celeriac, add: Any, broker: RecordingBroker) -> None:
    first, second = app.send_many([chain(add.s(1), add.s(2)), add.s(3)])
    assert len(broker.sent.batches) == 1
    assert [first.parent.id, second.id] == ids(broker)
    with pytest.raises(TypeError, match="begins with several"):
        app.send_many([group(add.s(1), add.s(2))])


def test_signals_tell_of_each_call(send: Send, add: Any, broker: RecordingBroker) -> None:
    told: list[tuple[str, str]] = []

    def before(headers: Any, **_more: Any) -> None:
        headers["stamp"] = "seen"
        told.append(("before", headers["id"]))

    def after(headers: Any, **_more: Any) -> None:
        told.append(("after", headers["id"]))

    signals.before_task_publish.connect(before)
    signals.after_task_publish.connect(after)
    try:
        first, second = (result.id for result in send(add, [(1,), (2,)]))
    finally:
        signals.before_task_publish.disconnect(before)
        signals.after_task_publish.disconnect(after)
    assert told == [("before", first), ("before", second), ("after", first), ("after", second)]
    assert [message.headers["stamp"] for message in broker.sent.messages] == ["seen", "seen"]


def test_in_eager_mode_each_runs_here(send: Send, add: Any, app: Celeriac, broker: RecordingBroker) -> None:
    app.conf.task_always_eager = True
    assert [result.get() for result in send(add, ((n, n) for n in range(4)))] == [0, 2, 4, 6]
    assert broker.sent.batches == []


def test_they_wait_in_the_buffer_while_the_broker_is_away(add: Any, app: Celeriac, broker: RecordingBroker) -> None:
    app.conf.update(publish_buffer_max=7, publish_buffer_exit_wait_s=0)
    broker.sent.failures = [BrokerUnavailable("away")] * 1000
    with pytest.raises(PartlySent) as caught:
        add.delay_many((n,) for n in range(20))
    assert len(caught.value.accepted) == len(app.publish_buffer) == 6
    assert list(caught.value.rest) == [(n,) for n in range(6, 20)]
    broker.sent.failures.clear()


# -- what fails -----------------------------------------------------------------------------------------------------------


def test_a_wrong_call_stops_its_batch_before_it_is_sent(send: Send, add: Any, broker: RecordingBroker) -> None:
    with pytest.raises(ArgumentError, match="takes at most 2"):
        send(add, [(0,), (1, 2, 3)])
    assert broker.sent.batches == []
    with pytest.raises(PartlySent, match=r"3 calls were accepted, then sending ended: .*takes at most 2") as caught:
        send(add, [(0,), (1,), (2,), (3,), (4, 5, 6), (7,)])
    assert isinstance(caught.value.__cause__, ArgumentError)
    assert [result.id for result in caught.value.accepted] == ids(broker)
    assert caught.value.unsure == []
    assert len(list(caught.value.rest)) == 3


def test_arguments_that_can_t_be_written_stop_it_too(add: Any, broker: RecordingBroker) -> None:
    with pytest.raises(ArgumentError, match="argument 'x'"):
        add.delay_many([(object(),)])
    with pytest.raises(MessageTooLarge):
        add.delay_many([("x" * add.app.settings.task_message_max_bytes,)])
    assert broker.sent.batches == []


def test_one_can_go_on_with_the_rest(send: Send, add: Any, broker: RecordingBroker) -> None:
    fails_at = 3

    def calls() -> Iterator[tuple[int]]:
        for n in range(8):
            if n == fails_at:
                broker.sent.failures = [BrokerUnavailable("away")] * 1000
            yield (n,)

    with pytest.raises(PartlySent, match="3 calls were accepted, then") as caught:
        send(add, calls())
    assert isinstance(caught.value.__cause__, BrokerUnavailable)
    broker.sent.failures.clear()
    rest = list(caught.value.rest)
    more = add.app.send_many(rest) if hasattr(rest[0], "apply_async") else add.delay_many(rest)
    assert [message.headers["argsrepr"] for message in broker.sent.messages] == [f"({n},)" for n in range(8)]
    assert [result.id for result in (*caught.value.accepted, *more)] == ids(broker)


def test_before_anything_is_accepted_the_error_is_the_plain_one(send: Send, add: Any, broker: RecordingBroker) -> None:
    broker.sent.failures = [BrokerUnavailable("away")] * 1000
    with pytest.raises(BrokerUnavailable, match=r"add\[.*\] \(and 2 more\) was not sent"):
        send(add, [(n,) for n in range(5)])


def test_an_unknown_outcome_is_told_with_its_results(send: Send, add: Any, broker: RecordingBroker) -> None:
    broker.sent.failures = [PublishTimeout("no confirm")]
    with pytest.raises(PartlySent, match="0 calls were accepted, of 3 it is not known") as caught:
        send(add, [(n,) for n in range(5)])
    assert len(caught.value.unsure) == 3
    assert len(list(caught.value.rest)) == 2


def test_what_no_queue_is_bound_for_is_among_the_rest(add: Any, app: Celeriac, broker: RecordingBroker) -> None:
    lost = add.s(2).set(task_id="lost")
    broker.sent.failures = [Unroutable("no queue", ["lost"])]
    with pytest.raises(PartlySent) as caught:
        app.send_many([add.s(1).set(task_id="first"), lost, add.s(3).set(task_id="third"), add.s(4)])
    assert [result.id for result in caught.value.accepted] == ["first", "third"]
    assert list(caught.value.rest) == [lost, add.s(4)]


def test_an_iterable_that_fails(send: Send, add: Any, broker: RecordingBroker) -> None:
    def calls() -> Iterator[tuple[int]]:
        yield from ((n,) for n in range(4))
        raise LookupError("the database is away")

    with pytest.raises(PartlySent) as caught:
        send(add, calls())
    assert isinstance(caught.value.__cause__, LookupError)
    assert len(caught.value.accepted) == len(broker.sent.messages) == 3
    assert len(list(caught.value.rest)) == 1


def test_a_large_group_goes_in_batches(add: Any, broker: RecordingBroker) -> None:
    result = group(add.s(n) for n in range(7)).apply_async()
    assert [len(batch) for batch in broker.sent.batches] == [3, 3, 1]
    assert [member.id for member in result.results] == ids(broker)


def test_a_large_group_that_fails_in_the_middle(add: Any, broker: RecordingBroker) -> None:
    def cut_off(headers: Any, **_more: Any) -> None:
        if len(broker.sent.batches) == 1:
            broker.sent.failures = [PublishTimeout("no confirm")]

    signals.before_task_publish.connect(cut_off)
    try:
        with pytest.raises(PartlySent, match="3 calls were accepted, of 3 it is not known") as caught:
            group(add.s(n) for n in range(7)).apply_async()
    finally:
        signals.before_task_publish.disconnect(cut_off)
    assert [result.id for result in caught.value.accepted] == ids(broker)
    assert len(caught.value.unsure) == 3


# -- unique tasks ---------------------------------------------------------------------------------------------------------


def test_duplicates_are_left_out_and_answered_with_the_first(app: Celeriac, broker: RecordingBroker) -> None:
    @app.task(unique=True)
    def pay(order_id: int) -> None: ...

    before = pay.delay(0)
    results = pay.delay_many([(1,), (0,), (1,), (2,), (1,)])
    assert [result.was_duplicate for result in results] == [False, True, True, False, True]
    assert [result.id for result in results] == [
        ids(broker)[1],
        before.id,
        ids(broker)[1],
        ids(broker)[2],
        ids(broker)[1],
    ]
    assert len(broker.sent.messages) == 3


def test_a_duplicate_that_raises_ends_it(app: Celeriac, broker: RecordingBroker) -> None:
    @app.task(unique=Unique(on_conflict="raise"))
    def pay(order_id: int) -> None: ...

    with pytest.raises(PartlySent, match="2 calls were accepted") as caught:
        pay.delay_many([(1,), (2,), (1,), (3,)])
    assert isinstance(caught.value.__cause__, DuplicateTask)
    assert len(broker.sent.messages) == 2
    assert list(caught.value.rest) == [(1,), (3,)]
    assert not pay.delay(3).was_duplicate  # its key was given back


def test_keys_are_given_back_when_sending_fails(app: Celeriac, broker: RecordingBroker) -> None:
    @app.task(unique=True)
    def pay(order_id: int) -> None: ...

    broker.sent.failures = [BrokerUnavailable("away")] * 1000
    with pytest.raises(BrokerUnavailable):
        pay.delay_many([(1,), (2,)])
    broker.sent.failures.clear()
    assert [result.was_duplicate for result in pay.delay_many([(1,), (2,)])] == [False, False]


def test_keys_of_an_unknown_outcome_are_held(app: Celeriac, broker: RecordingBroker) -> None:
    @app.task(unique=True)
    def pay(order_id: int) -> None: ...

    broker.sent.failures = [PublishTimeout("no confirm")]
    with pytest.raises(PartlySent) as caught:
        pay.delay_many([(1,), (2,)])
    assert [pay.delay(n).id for n in (1, 2)] == [result.id for result in caught.value.unsure]
    assert broker.sent.messages == []
