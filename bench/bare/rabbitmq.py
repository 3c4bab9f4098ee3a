"""The bare loop on RabbitMQ, over a bare socket.

The client waits until each message, or each window of a batch, is confirmed. `python -m bench.bare.rabbitmq` is the worker: it
acknowledges up to 100 messages at once, after they were run and their answers sent.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Final

from bench.bare import message
from bench.bare.amqp import CHANNEL, Link, publish
from bench.client import Client
from bench.place import BROKER_URL, OPTIONS, QUEUE
from celeriac.transports.amqp.protocol import methods
from celeriac.transports.amqp.protocol.frames import ack_frame
from celeriac.transports.amqp.protocol.properties import decode_properties

ACK_EVERY: Final = 100
PREFETCH: Final = 200
WRITE: Final = 50
"""Messages of one write, in a batch."""
WINDOW: Final = 200
"""Messages that a batch has unconfirmed at most."""
REPLIES: Final = f"replies-{os.getpid()}"


def declare(link: Link) -> None:
    """Make the queue."""
    arguments = {} if OPTIONS.get("classic") else {"x-queue-type": "quorum"}
    link.call(methods.queue_declare(QUEUE, arguments=arguments))


class BareClient(Client):
    """basic.publish of a message that is built for each call, confirmed."""

    def __init__(self) -> None:
        self._link = Link(BROKER_URL)
        declare(self._link)
        self._link.call(methods.confirm_select())
        self._confirms = self._link.confirms()
        self._sent = 0
        self._confirmed = 0

    def send(self, task: str, *arguments: Any) -> Any:
        """Send one message and wait for its confirm."""
        call = message.make_call(task, arguments, REPLIES)
        self._link.write(publish(QUEUE, call.body, call.headers, call.properties))
        self._sent += 1
        self._until_confirmed(self._sent)
        return call.id

    def send_many(self, task: str, calls: Sequence[tuple[Any, ...]]) -> Sequence[Any]:
        """Send some in each write, with a window of what is not confirmed."""
        sent: list[Any] = []
        for start in range(0, len(calls), WRITE):
            some = [message.make_call(task, arguments, REPLIES) for arguments in calls[start : start + WRITE]]
            sent += (call.id for call in some)
            self._link.write(b"".join(publish(QUEUE, call.body, call.headers, call.properties) for call in some))
            self._sent += len(some)
            self._until_confirmed(self._sent - WINDOW)
        self._until_confirmed(self._sent)
        return sent

    def round_trip(self, count: int) -> None:
        """Have a queue for answers, and read them all."""
        answers = Link(BROKER_URL)
        answers.call(methods.queue_declare(REPLIES, durable=False, exclusive=True))
        answers.call(methods.basic_consume(REPLIES, "answers", no_ack=True))
        handles = self.send_many("answer", [(number,) for number in range(count)])
        heard = {}
        for _, _, body, _ in answers.deliveries():
            document = message.decode_result(body)
            heard[document["task_id"]] = document["result"]
            if len(heard) == count:
                break
        answers.close()
        self.check(count, [heard[handle] for handle in handles])

    def close(self) -> None:
        """Close the connection."""
        self._link.close()

    def _until_confirmed(self, count: int) -> None:
        while self._confirmed < count:
            self._confirmed = next(self._confirms)


def work() -> None:
    """Take, run, answer and acknowledge, for ever."""
    link = Link(BROKER_URL)
    declare(link)
    link.call(methods.basic_qos(PREFETCH))
    link.call(methods.basic_consume(QUEUE, "worker"))
    unacknowledged = 0
    answers: list[bytes] = []
    for tag, encoded, body, drained in link.deliveries():
        properties = decode_properties(encoded)
        headers = properties["headers"]
        value = message.run(headers["task"], body)
        if not headers["ignore_result"]:
            document = message.make_result(headers["id"], value)
            answers.append(publish(properties["reply_to"], document, {}, {"correlation_id": headers["id"]}))
        unacknowledged += 1
        if drained or unacknowledged == ACK_EVERY:
            link.write(b"".join(answers) + ack_frame(CHANNEL, tag, multiple=True))
            unacknowledged = 0
            answers.clear()


def make_client() -> Client:
    """Return the client."""
    return BareClient()


if __name__ == "__main__":
    work()
