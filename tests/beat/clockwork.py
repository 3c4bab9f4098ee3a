"""What schedulers are tested with: a clock that the test moves, a memory broker that can do without boards, and crashes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from celeriac import Celeriac
from celeriac.brokers.embedded.memory import MemoryBroker, MemoryProducer
from celeriac.brokers.embedded.memory_boards import MemoryBoards
from celeriac.core.boards import Move
from celeriac.core.effects import Ack, Settlement
from celeriac.core.message import Message
from celeriac.core.settings import Settings

START_S = 1_900_000_000.0


class Clock:
    """A time source that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = START_S

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now


class Crash(BaseException):
    """The process has died here: nothing of ours catches it."""


class Fate:
    """Counts the steps that touch the world, and ends the process before or after one of them."""

    def __init__(self) -> None:
        self.left: int | None = None
        """So many moments until the end; there is one before and one after each step."""

    def around(self, step: Callable[[], Any]) -> Any:
        self._pass()
        answer = step()
        self._pass()
        return answer

    def _pass(self) -> None:
        if self.left is not None:
            if self.left == 0:
                raise Crash
            self.left -= 1


class FatefulBoards(MemoryBoards):
    def __init__(self, fate: Fate) -> None:
        super().__init__()
        self.fate = fate

    def read(self, board: str) -> Mapping[str, str]:
        found: Mapping[str, str] = self.fate.around(lambda: super(FatefulBoards, self).read(board))
        return found

    def move(self, board: str, move: Move, act: Callable[[], object] = lambda: None) -> bool:
        done: bool = self.fate.around(lambda: super(FatefulBoards, self).move(board, move, act))
        return done


class PlainProducer:
    """Sends, and knows nothing of boards: as RabbitMQ's."""

    def __init__(self, producer: MemoryProducer, fate: Fate) -> None:
        self._producer = producer
        self._fate = fate

    def publish(self, messages: Sequence[Message], timeout_s: float) -> None:
        self._fate.around(lambda: self._producer.publish(messages, timeout_s))

    def close(self) -> None:
        self._producer.close()


class FatefulBroker(MemoryBroker):
    """A memory broker at which a scheduler may die; `in_one_step`: it moves a board and publishes at once."""

    def __init__(self, clock: Clock, fate: Fate, *, in_one_step: bool) -> None:
        super().__init__("memory://", Settings(), clock.time)
        self.boards = FatefulBoards(fate)
        self._fate = fate
        self._in_one_step = in_one_step

    def producer(self) -> Any:
        producer = super().producer()
        return producer if self._in_one_step else PlainProducer(producer, self._fate)


class Place:
    """An app with its broker and its clock."""

    def __init__(self, *, in_one_step: bool = True, **settings: Any) -> None:
        self.clock = Clock()
        self.fate = Fate()
        self.broker = FatefulBroker(self.clock, self.fate, in_one_step=in_one_step)
        self.app = Celeriac("place", broker=self.broker, set_as_current=False, **settings)
        self.app.time_source = self.clock
        self.app.task(name="note")(note)

    def advance(self, seconds: float) -> None:
        self.clock.now += seconds

    async def sent(self) -> list[Message]:
        """Take everything out of the queue."""
        consumer = self.broker.consumer()
        await consumer.open("reader", ["celery"])
        found = []
        while deliveries := await consumer.claim(1000, 0.0):
            found += [delivery.message for delivery in deliveries if delivery.message is not None]
            await consumer.settle([Settlement(delivery.tag, Ack()) for delivery in deliveries])
        await consumer.close()
        return found


def note(*_args: Any, **_kwargs: Any) -> None:
    """What the tests' entries send."""


def counted(messages: Sequence[Message]) -> Mapping[str, Counter[str]]:
    """Return entry -> task id -> how many messages."""
    found: dict[str, Counter[str]] = {}
    for message in messages:
        found.setdefault(message.headers["periodic_task_name"], Counter())[message.id] += 1
    return found
