"""Clients that ask workers and are killed leave nothing that grows: each key has a time to live, or is one of a fixed set."""

from __future__ import annotations

import contextlib
from contextlib import closing
from typing import Any

import redis

from celeriac.torture.servers.service import ServiceError, wait_until
from tests.fleet.harness import Fleet
from tests.private_redis import as_default_user
from tests.program import DEADLINE_S
from tests.services import PrivateRabbit

NODE = "ours@fleet"
CLIENTS, APPS, REQUESTS = 4, 10, 25
"""A thousand requests."""


def test_killed_clients_leave_nothing_that_grows(fleet: Fleet) -> None:
    fleet.worker(NODE, "left", "-c", "1", "-E")
    ask_once(fleet)
    # As it starts, a worker asks the others, too.
    wait_until(lambda: not any("reply" in name for name in things(fleet)), "nobody is asking", deadline_s=DEADLINE_S)
    before = things(fleet)
    clients = [
        fleet.start(f"client-{number}", ["tests.fleet.killed_client", NODE, str(APPS), str(REQUESTS)], "left")
        for number in range(CLIENTS)
    ]
    for client in clients:
        client.wait_for("asked")
    assert things(fleet) != before, "clients that live are known"
    for client in clients:
        client.kill()
    if fleet.name == "redis":
        pass_time(fleet)
        ask_once(fleet)  # whoever comes next removes what the dead have left
    with contextlib.suppress(ServiceError):  # the next line shows what is different
        wait_until(lambda: things(fleet) == before, "there is only what was before", deadline_s=DEADLINE_S / 2)
    assert things(fleet) == before


def ask_once(fleet: Fleet) -> None:
    """Ask as a client does that ends in order."""
    with fleet.our_app("left") as app:
        assert app.control.ping(destination=[NODE], timeout=DEADLINE_S) == [{NODE: {"ok": "pong"}}]


def things(fleet: Fleet) -> dict[str, int]:
    """What the broker keeps for ever, and how much stands in it: on Redis keys without a time to live, else queues."""
    if isinstance(fleet.server, PrivateRabbit):
        lengths = fleet.server.queue_lengths(fleet.broker_url.rpartition("/")[2])
        del lengths["celeriac.revoked"]  # a stream with a time to live, in which each worker that starts leaves a mark
        return lengths
    with closing(open_redis(fleet)) as client:
        return {key: size(client, key) for key in client.scan_iter() if client.pttl(key) == -1}


def size(client: Any, key: str) -> int:
    """How many members a key has, or bytes."""
    commands = {"zset": "ZCARD", "set": "SCARD", "list": "LLEN", "hash": "HLEN", "stream": "XLEN", "string": "STRLEN"}
    return int(client.execute_command(commands[client.type(key)], key))


def pass_time(fleet: Fleet) -> None:
    """Make it a minute later for whoever has a mailbox; those that live will say so again."""
    with closing(open_redis(fleet)) as client:
        mailboxes = client.zrange("celeriac:mailboxes", 0, -1)
        assert len(mailboxes) >= CLIENTS * APPS
        client.zadd("celeriac:mailboxes", dict.fromkeys(mailboxes, 1))


def open_redis(fleet: Fleet) -> Any:
    return redis.Redis.from_url(as_default_user(fleet.broker_url), decode_responses=True)
