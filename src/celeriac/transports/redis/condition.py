"""What about a Redis server endangers messages or results: found in what it says of itself, each with its cure."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from celeriac.transports.redis.address import Address
from celeriac.transports.redis.blocking import BlockingConnection, open_connection
from celeriac.transports.redis.errors import ConnectionLost, ReplyError
from celeriac.transports.redis.protocol import pack_all

_SECTIONS: Final = ("memory", "persistence", "replication")


def dangers_of(address: Address, timeout_s: float, *, keeps_messages: bool, is_durable: bool) -> list[str]:
    """Return a line for everything in a server's configuration by which it can lose what it keeps.

    Asks within `timeout_s` seconds, by INFO, and by CONFIG GET where INFO does not tell.  What a user may not ask, and a server that
    does not answer, give no line: never raises.  `keeps_messages`: it is a broker, not only a store of results; `is_durable`: with
    `redis_durability`.
    """
    deadline = time.monotonic() + timeout_s
    try:
        connection = open_connection(address, deadline)
    except (ConnectionLost, ReplyError):
        return []
    try:
        told = _info(connection, deadline)
    except ConnectionLost:
        return []
    finally:
        connection.close()
    where = f"Redis at {address.shown}"
    return [f"{where} {danger}" for danger in dangers(told, keeps_messages=keeps_messages, is_durable=is_durable)]


def dangers(told: Mapping[str, str], *, keeps_messages: bool, is_durable: bool) -> list[str]:
    """Return the dangers in fields of INFO, and the setting `save` if it is known. Pure."""
    found: list[str] = []
    policy = told.get("maxmemory_policy", "noeviction")
    what = "messages" if keeps_messages else "results"
    if policy != "noeviction":
        found.append(
            f"has maxmemory-policy {policy}: when it is full, it deletes {what} unasked; set 'maxmemory-policy noeviction'"
        )
    if told.get("aof_enabled") == "0":
        if told.get("save") == "":
            found.append(f"keeps nothing on its disk: a restart loses all {what}; set 'appendonly yes'")
        elif keeps_messages:
            found.append("writes snapshots only: a restart loses the messages since the last one; set 'appendonly yes'")
    replicas = int(told.get("connected_slaves", "0"))
    if replicas and not is_durable:
        found.append(
            f"has {replicas} replica{'s' if replicas > 1 else ''}, which follow it a little behind: a failover may lose the last"
            f" {what}; set redis_durability='replica' to have sending wait for them"
        )
    return found


def _info(connection: BlockingConnection, deadline: float) -> dict[str, str]:
    commands: list[Sequence[str]] = [*(("INFO", section) for section in _SECTIONS), ("CONFIG", "GET", "save")]
    *texts, save = connection.call(pack_all(commands), len(commands), deadline)
    told: dict[str, str] = {}
    for text in texts:
        if not isinstance(text, ReplyError):  # forbidden, as it may be to users with few rights
            lines = text.decode(errors="replace").splitlines()
            told.update(line.split(":", 1) for line in lines if ":" in line)
    return {**told, **_saving(save)}


def _saving(reply: Any) -> dict[str, str]:
    if isinstance(reply, ReplyError) or not reply:
        return {}
    value = reply[b"save"] if isinstance(reply, dict) else reply[1]
    return {"save": value.decode()}
