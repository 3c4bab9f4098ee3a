"""The bare loop on Redis.

`python -m bench.bare.redis` is the worker: what it takes stands in a list of its own until it is done with, so that a crash
loses nothing; one script acknowledges what was taken before, stores its results, and takes up to 100 more.
"""

from __future__ import annotations

import binascii
import os
from collections.abc import Sequence
from typing import Any, Final

import redis

from bench.bare import message
from bench.client import Client
from bench.place import BACKEND_URL, BROKER_URL, QUEUE

AT_ONCE: Final = 100
WAIT_S: Final = 5
REPLIES: Final = f"replies-{os.getpid()}"
CLAIM: Final = """
redis.call('DEL', KEYS[2])
for i = 2, #ARGV, 3 do
  redis.call('SETEX', ARGV[i], 86400, ARGV[i + 1])
  redis.call('PUBLISH', ARGV[i + 2], ARGV[i + 1])
end
local taken = redis.call('RPOP', KEYS[1], ARGV[1])
if taken then
  redis.call('RPUSH', KEYS[2], unpack(taken))
end
return taken or {}
"""


def connect(url: str) -> redis.Redis:
    """Connect, to wait for as long as it takes: by default redis-py gives up a wait after five seconds."""
    return redis.Redis.from_url(url, socket_timeout=None)


class BareClient(Client):
    """LPUSH of an envelope that is built for each call."""

    def __init__(self) -> None:
        self._redis = connect(BROKER_URL)
        self._replies = connect(BACKEND_URL).pubsub(ignore_subscribe_messages=True)

    def send(self, task: str, *arguments: Any) -> Any:
        """Send one envelope."""
        call = message.make_call(task, arguments, REPLIES)
        self._redis.lpush(QUEUE, message.make_envelope(call, QUEUE))
        return call.id

    def send_many(self, task: str, calls: Sequence[tuple[Any, ...]]) -> Sequence[Any]:
        """Send all in one LPUSH."""
        made = [message.make_call(task, arguments, REPLIES) for arguments in calls]
        self._redis.lpush(QUEUE, *(message.make_envelope(call, QUEUE) for call in made))
        return [call.id for call in made]

    def round_trip(self, count: int) -> None:
        """Listen to what is published as results are stored."""
        self._replies.subscribe(REPLIES)
        super().round_trip(count)

    def values(self, handles: Sequence[Any]) -> list[Any]:
        """Hear all results, and put them in order."""
        heard: dict[str, Any] = {}
        for told in self._replies.listen():
            document = message.decode_result(told["data"])
            heard[document["task_id"]] = document["result"]
            if len(heard) == len(handles):
                break
        return [heard[handle] for handle in handles]

    def close(self) -> None:
        """Close both connections."""
        self._replies.close()
        self._redis.close()


def work() -> None:
    """Take, run and acknowledge, for ever."""
    client = connect(BROKER_URL)
    claim = client.register_script(CLAIM)
    claims = f"claims-{os.getpid()}"
    done: list[Any] = []
    while True:
        taken = claim([QUEUE, claims], [AT_ONCE, *done])
        if not taken:
            one = client.blmove(QUEUE, claims, WAIT_S, "RIGHT", "LEFT")
            taken = [one] if one is not None else []
        done = []
        for raw in taken:
            envelope = message.decode_envelope(raw)
            value = message.run(envelope.headers["task"], binascii.a2b_base64(envelope.body))
            if not envelope.headers["ignore_result"]:
                task_id = envelope.headers["id"]
                document = message.make_result(task_id, value)
                done += (f"celery-task-meta-{task_id}", document, envelope.properties["reply_to"])


def make_client() -> Client:
    """Return the client."""
    return BareClient()


if __name__ == "__main__":
    work()
