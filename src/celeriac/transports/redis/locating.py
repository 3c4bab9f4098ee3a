"""How the server that is master is found, step by step: asked are Sentinels, or nodes of a cluster. No I/O here.

Both kinds of connection walk the same way: they carry out each step and tell what came of it.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any, Final

from msgspec import Struct

from celeriac.transports.redis.address import Address
from celeriac.transports.redis.errors import ConnectionLost, ReplyError
from celeriac.transports.redis.protocol import Word

GUIDE_S: Final = 0.5
"""So long a Sentinel, or a node of a cluster, is waited for that is only asked for the way."""
CONFIRM_S: Final = 1.0
"""After so long it is asked again whether a connection leads to the master: one that was cut off goes on taking itself for it."""


class Step(Struct, frozen=True):
    """Connect to one server and send it one command."""

    address: Address
    command: Sequence[Word]
    is_question: bool
    """The server is only asked for the way: there are others to ask, so it is not waited for long."""

    def share_s(self, left_s: float) -> float:
        """Return how much of the time that is left this step may take."""
        return min(left_s, GUIDE_S if self.is_question else max(GUIDE_S, left_s / 2))


Way = Generator[Step, Any, None]
"""Steps; each is sent the reply, or thrown `ConnectionLost` or `ReplyError`.  When it returns, the last connection is the one."""


def way_to(address: Address, guides: Sequence[Address]) -> Way:
    """Return the way to the server of an address that has guides, which are asked in this order.

    It raises `ConnectionLost` when none of them knows a way, and `ReplyError` when the server itself refuses us.
    """
    return _by_sentinels(address, guides) if address.master_name else _in_cluster(address, guides)


def master_question(address: Address) -> tuple[Word, ...]:
    """Return the command that asks a Sentinel where the master is."""
    return ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", address.master_name)


def master_named(told: Any) -> tuple[str, int] | None:
    """Return host and port from a Sentinel's answer to that; None if it knows of no such master, or answered an error."""
    return (told[0].decode(), int(told[1])) if isinstance(told, list) else None


def _by_sentinels(address: Address, guides: Sequence[Address]) -> Way:
    problems: list[str] = []
    name = address.master_name
    for guide in guides:
        said = f"Sentinel {guide.host}:{guide.port}"
        try:
            if address.min_other_sentinels:
                state = yield Step(guide, ("SENTINEL", "MASTER", name), is_question=True)
                others = int(_pairs(state).get(b"num-other-sentinels", 0))
                if others < address.min_other_sentinels:
                    problems.append(f"{said} sees {others} others only (min_other_sentinels)")
                    continue
            told = yield Step(guide, master_question(address), is_question=True)
        except (ConnectionLost, ReplyError) as error:
            problems.append(f"{said}: {error}")
            continue
        place = master_named(told)
        if place is None:
            problems.append(f"{said} knows no master {name!r} (master_name)")
            continue
        master = address.at(*place)
        if (problem := (yield from _enter(master))) is None:
            return
        problems.append(f"{said} says {master.shown}, but {problem}")
    raise ConnectionLost("; ".join(problems))


def _enter(master: Address) -> Generator[Step, Any, str | None]:
    """See whether a server is master, as its Sentinel says: that may lag behind. Returns what is wrong."""
    try:
        role = yield Step(master, ("ROLE",), is_question=False)
    except ConnectionLost as error:
        return str(error)
    except ReplyError as error:
        if error.code != "NOPERM":
            raise
        return None  # it will say itself, by READONLY, if it is none
    return None if role[0] == b"master" else "that is a replica"


def _in_cluster(address: Address, guides: Sequence[Address]) -> Way:
    assert address.slot is not None
    problems: list[str] = []
    asked: set[tuple[str, int]] = set()
    for guide in guides:
        here = guide.at(guide.host, guide.port)
        # A node may name another, that another: follow as long as they are new.
        while (here.host, here.port) not in asked:
            asked.add((here.host, here.port))
            try:
                slots = yield Step(here, ("CLUSTER", "SLOTS"), is_question=True)
            except ConnectionLost as error:
                problems.append(f"node {here.shown}: {error}")
                break
            owner = _owner(slots, address.slot, here)
            if owner is None:
                problems.append(f"node {here.shown} knows no owner of slot {address.slot}")
                break
            if owner == (here.host, here.port):
                return
            here = guide.at(*owner)
    raise ConnectionLost("; ".join(problems) or "the nodes name each other as owner")


def _owner(slots: Sequence[Any], slot: int, asked: Address) -> tuple[str, int] | None:
    for first, last, master, *_ in slots:
        if first <= slot <= last:
            # Without a host: the one that was asked. A node that does not know its own name says so, too.
            host = master[0].decode() if master[0] not in (None, b"", b"?") else asked.host
            return host, int(master[1])
    return None


def _pairs(reply: Any) -> dict[bytes, bytes]:
    if isinstance(reply, dict):
        return reply
    words = iter(reply)
    return dict(zip(words, words, strict=True))
