"""Publishing ends in time: with the message sent, or with an error that says what happened."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from typing import Any

import pytest

from celeriac import Celeriac
from celeriac.client import publish_lane
from celeriac.client.publisher import ONCE, UNTIL_DEADLINE, Publisher, RetryPolicy, make_retry_policy
from celeriac.core.message import Message
from celeriac.exceptions import BrokerUnavailable, OperationalError, PublishTimeout
from tests.client.recording import RecordingBackend, RecordingBroker, RecordingProducer

MESSAGES = [Message("q", {"id": "1", "task": "shop.add"}, b"")]


class Clock:
    """Time that passes by sleeping only."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def producer() -> RecordingProducer:
    return RecordingProducer()


@pytest.fixture
def publisher(producer: RecordingProducer, clock: Clock) -> Publisher:
    return Publisher(producer, "redis://host", clock=clock, sleep=clock.sleep)


def test_it_tries_again_until_it_works(publisher: Publisher, producer: RecordingProducer, clock: Clock) -> None:
    producer.failures = [BrokerUnavailable("refused")] * 3
    publisher.publish(MESSAGES, 5)
    assert producer.batches == [MESSAGES]
    assert clock.pauses == pytest.approx([0, 0.1, 0.2])
    assert producer.timeouts_s == pytest.approx([5, 5, 4.9, 4.7])


def test_the_deadline_is_over_everything(publisher: Publisher, producer: RecordingProducer, clock: Clock) -> None:
    producer.failures = [BrokerUnavailable("refused")] * 100
    with pytest.raises(BrokerUnavailable) as caught:
        publisher.publish(MESSAGES, 5)
    assert clock.now <= 5
    text = str(caught.value)
    for part in ("shop.add[1]", "was not sent", "redis://host", "refused", "publish_timeout_s=5"):
        assert part in text
    assert isinstance(caught.value, OperationalError)


def test_an_unknown_outcome_is_not_repeated(publisher: Publisher, producer: RecordingProducer) -> None:
    producer.failures = [PublishTimeout("no confirm")]
    with pytest.raises(PublishTimeout, match=r"may or may not have arrived.*same task_id is safe"):
        publisher.publish(MESSAGES, 5)
    assert len(producer.timeouts_s) == 1


@pytest.mark.parametrize(
    ("policy", "tries"),
    [(ONCE, 1), (RetryPolicy(max_retries=2), 3), (RetryPolicy(interval_start=2, interval_step=0, interval_max=2), 3)],
)
def test_policies(publisher: Publisher, producer: RecordingProducer, policy: RetryPolicy, tries: int) -> None:
    producer.failures = [BrokerUnavailable("refused")] * 100
    with pytest.raises(BrokerUnavailable):
        publisher.publish(MESSAGES, 5, policy)
    assert len(producer.timeouts_s) == tries


def test_celerys_retry_options() -> None:
    assert make_retry_policy(True, None) is UNTIL_DEADLINE
    assert make_retry_policy(False, {"max_retries": 3}) is ONCE
    assert make_retry_policy(True, {"max_retries": 3, "interval_max": 1}) == RetryPolicy(max_retries=3, interval_max=1)


def test_retry_false_tries_once(app: Celeriac, broker: RecordingBroker) -> None:
    @app.task
    def add() -> None: ...

    broker.sent.failures = [BrokerUnavailable("refused")]
    with pytest.raises(BrokerUnavailable, match="one try"):
        add.apply_async(retry=False)
    broker.sent.failures = [BrokerUnavailable("refused")]
    add.delay()
    assert len(broker.sent.messages) == 1


def test_one_producer_for_all_calls(app: Celeriac, broker: RecordingBroker) -> None:
    @app.task
    def add() -> None: ...

    threads = [threading.Thread(target=add.delay) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(broker.sent.messages) == 8
    assert broker.producers_made == 1
    app.close()
    assert broker.sent.closed
    add.delay()
    assert broker.producers_made == 2


def test_a_forked_child_opens_its_own(app: Celeriac, broker: RecordingBroker) -> None:
    @app.task
    def add() -> None: ...

    add.delay()
    receiving, sending = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            add.delay()
            asyncio.run(add.adelay())
            ok = broker.producers_made == 2 and not broker.sent.closed
            os.write(sending, b"ok" if ok else b"no")
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    assert os.read(receiving, 2) == b"ok"
    os.close(receiving)
    os.close(sending)
    add.delay()
    assert broker.producers_made == 1


# -- coroutines -------------------------------------------------------------------------------------------------------


@pytest.fixture
def add(app: Celeriac) -> Any:
    @app.task
    def add(x: int) -> int:
        return x

    return add


def test_adelay(add: Any, broker: RecordingBroker) -> None:
    async def main() -> None:
        result = await add.adelay(1)
        later = await add.aapply_async((2,), countdown=30)
        assert [message.id for message in broker.sent.messages] == [result.id, later.id]

    asyncio.run(main())
    assert broker.sent.messages[1].not_before is not None


def test_concurrent_callers_share_a_round_trip(add: Any, broker: RecordingBroker) -> None:
    async def main() -> None:
        broker.sent.gate.clear()
        first = asyncio.create_task(add.adelay(0))
        await asyncio.to_thread(broker.sent.entered.wait, 30)
        rest = [asyncio.create_task(add.adelay(n)) for n in range(1, 101)]
        await asyncio.sleep(0)  # each has handed over its message
        await asyncio.sleep(0)
        broker.sent.gate.set()
        await asyncio.gather(first, *rest)

    asyncio.run(main())
    assert [len(batch) for batch in broker.sent.batches] == [1, 100]


def test_no_more_than_so_many_are_on_their_way(
    add: Any, broker: RecordingBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publish_lane, "WAITING_MAX", 10)

    async def main() -> None:
        broker.sent.gate.clear()
        first = asyncio.create_task(add.adelay(0))
        await asyncio.to_thread(broker.sent.entered.wait, 30)
        rest = [asyncio.create_task(add.adelay(n)) for n in range(1, 36)]
        await asyncio.sleep(0)
        for waiting in rest[9:20]:
            waiting.cancel()  # while they wait for room
        await asyncio.sleep(0)
        broker.sent.gate.set()
        await asyncio.gather(first, *rest, return_exceptions=True)
        assert [task.cancelled() for task in rest].count(True) == 11

    asyncio.run(main())
    first_size, *sizes = (len(batch) for batch in broker.sent.batches)
    assert (first_size, sum(sizes)) == (1, 24)
    assert max(sizes) in (9, 10), "what is accepted makes room at once, perhaps before the next batch is taken"


def test_whoever_finds_no_room_in_time_is_told_that_nothing_was_sent(
    app: Celeriac, add: Any, broker: RecordingBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publish_lane, "WAITING_MAX", 1)
    app.conf.publish_timeout_s = 0.2
    broker.sent.gate.clear()

    async def main() -> tuple[Any, Any]:
        return await asyncio.gather(add.adelay(1), add.adelay(2), return_exceptions=True)

    on_its_way, kept_out = asyncio.run(main())
    assert isinstance(on_its_way, PublishTimeout)
    assert not isinstance(kept_out, PublishTimeout)
    assert isinstance(kept_out, BrokerUnavailable)
    assert "too many calls are waiting" in str(kept_out)
    broker.sent.gate.set()


def test_errors_go_to_each_caller(app: Celeriac, add: Any, broker: RecordingBroker) -> None:
    app.conf.publish_timeout_s = 0.2
    broker.sent.failures = [BrokerUnavailable("refused")] * 1000

    async def main() -> list[Any]:
        return await asyncio.gather(*(add.adelay(n) for n in range(5)), return_exceptions=True)

    errors = asyncio.run(main())
    assert all(isinstance(error, BrokerUnavailable) for error in errors)
    assert len({id(error) for error in errors}) == 5


def test_a_cancelled_caller_does_no_harm(add: Any, broker: RecordingBroker) -> None:
    async def main() -> None:
        broker.sent.gate.clear()
        first = asyncio.create_task(add.adelay(0))
        await asyncio.to_thread(broker.sent.entered.wait, 30)
        cancelled = asyncio.create_task(add.adelay(1))
        kept = asyncio.create_task(add.adelay(2))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        first.cancel()
        cancelled.cancel()
        await asyncio.sleep(0)
        broker.sent.gate.set()
        await kept

    asyncio.run(main())
    assert [message.headers["argsrepr"] for message in broker.sent.messages] == ["(0,)", "(2,)"]


def test_calls_with_a_policy_of_their_own_are_kept_apart(add: Any, broker: RecordingBroker) -> None:
    broker.sent.failures = [BrokerUnavailable("refused")]

    async def main() -> None:
        with pytest.raises(BrokerUnavailable, match="one try"):
            await add.aapply_async((1,), retry=False)
        await add.adelay(2)

    asyncio.run(main())
    assert len(broker.sent.messages) == 1


def test_a_broker_that_does_not_answer(app: Celeriac, add: Any, broker: RecordingBroker) -> None:
    app.conf.publish_timeout_s = 0.5
    broker.sent.gate.clear()

    async def main() -> None:
        with pytest.raises(PublishTimeout, match="may or may not have"):
            await add.adelay(1)

    asyncio.run(main())
    broker.sent.gate.set()


def test_several_loops(add: Any, broker: RecordingBroker) -> None:
    for n in range(3):
        asyncio.run(add.adelay(n))
    assert len(broker.sent.messages) == 3


def test_closing_sends_what_was_handed_over(app: Celeriac, add: Any, broker: RecordingBroker) -> None:
    async def main() -> None:
        await add.adelay(1)
        app.close()
        await add.adelay(2)  # opened again

    asyncio.run(main())
    assert len(broker.sent.messages) == 2


def test_the_reply_queue_is_there_before_the_first_message(broker: RecordingBroker) -> None:
    backend = RecordingBackend(reply_to="my-queue")
    with Celeriac(broker=broker, backend=backend) as app:

        @app.task(name="x")
        def add() -> None: ...

        add.delay()
        assert backend.listeners[0].opened == 1
        assert broker.sent.messages[0].properties["reply_to"] == "my-queue"
        add.apply_async(ignore_result=True)
        assert not broker.sent.messages[1].properties.get("reply_to")


OPENING_S = 0.05


class SlowBroker(RecordingBroker):
    """One that takes its time until it is ready to send, as imports do in the first call of a process."""

    def producer(self) -> RecordingProducer:
        time.sleep(OPENING_S)
        return super().producer()


class SlowBackend(RecordingBackend):
    """The same for the backend, which each call asks for its reply queue."""

    def listener(self) -> Any:
        time.sleep(OPENING_S)
        return super().listener()


@pytest.mark.parametrize("buffered", [0, 10])
@pytest.mark.parametrize("awaited", [False, True])
@pytest.mark.parametrize("by_name", [False, True])
def test_the_deadline_of_the_first_call_is_over_all_that_has_to_be_opened(
    awaited: bool, by_name: bool, buffered: int
) -> None:
    broker = SlowBroker()
    with Celeriac(
        broker=broker, backend=SlowBackend(reply_to="mine"), publish_timeout_s=5.0, publish_buffer_max=buffered
    ) as app:

        @app.task(name="add")
        def add() -> None: ...

        if awaited:
            asyncio.run(app.asend_task("add") if by_name else add.adelay())
        else:
            app.send_task("add") if by_name else add.delay()
    (timeout_s,) = broker.sent.timeouts_s
    assert 0 < timeout_s <= 5.0 - 2 * OPENING_S
