"""Sending to a broker that is away, silent, frozen or full: every send ends in time, with an error that says what became of it."""

from __future__ import annotations

import resource
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any, Final

from celeriac.torture.orders import ACCEPTED, REFUSED
from celeriac.torture.places import RABBITMQ, REDIS, SQLITE
from celeriac.torture.processes import Producer
from celeriac.torture.scenario import Check, Scenario
from celeriac.torture.scenarios.brokers import TYPED, fill_redis
from celeriac.torture.servers.proxy import Proxy
from celeriac.torture.servers.redis_call import redis_call
from celeriac.torture.stage import Stage
from celeriac.transports.sqlite.location import path_of

LIMIT_S: Final = 5.5
"""`publish_timeout_s`, and what it takes to say so."""
HANGS_S: Final = 60.0
"""Who has not ended by then hangs."""
QUEUE_IS_KNOWN_S: Final = 2.0
"""RabbitMQ 3.10 that is killed in the very moment in which a queue was made may not find it again: seen once, half a second after."""
THREADS: Final = 20
JOURNAL_BYTES: Final = 50_000
WATERMARK: Final = "vm_memory_monitor:set_vm_memory_high_watermark({})."


class _Senders:
    """Three processes that send: one call after the other, awaited, and from many threads."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._ways: list[dict[str, Any]] = [{}, {"threads": THREADS}]
        if stage.system.name == "celeriac":
            self._ways.append({"awaited": True})
        self.keys: list[str] = []
        self.processes: list[Producer] = []

    def send(self) -> list[str]:
        """Have each of them send, and return the keys of all that came to an end in time."""
        begun = [
            self._stage.begin_sending(THREADS if "threads" in way else 2, 0.0, **way)  # all at the same time
            for way in self._ways
        ]
        keys = [key for some, _ in begun for key in some]
        self.keys += keys

        def over() -> set[str]:
            return {line.key for event in (ACCEPTED, REFUSED) for line in self._stage.journal.of(event)}

        if self._stage.wait(lambda: over().issuperset(keys), HANGS_S) is not None:
            self.processes = [producer for _, producer in begun]
            for producer in reversed(self.processes):  # the last one given back is the first to be taken
                self._stage.finish_sending(producer)
        return [key for key in keys if key in over()]


def _refused(
    stage: Stage, break_it: Callable[[_Senders], object], mend: Callable[[], object], *, warm: bool = True
) -> Sequence[Check]:
    """Send while something is broken, and again when it is mended; `warm`: by connections that were good before."""
    senders = _Senders(stage)
    if warm:
        senders.send()
    break_it(senders)
    before = len(senders.keys)
    over = senders.send()
    tried = senders.keys[before:]
    lines = [line for line in stage.journal.of(REFUSED) if line.key in tried]
    slowest_s = max((line.more["took_s"] for line in lines), default=0.0)
    kinds = {line.more["error"] for line in lines}
    is_ours = stage.system.name == "celeriac"  # which errors are typed can't be told of others
    checks = [
        Check(f"{len(over)} of {len(tried)} sends came to an end", len(over) == len(tried)),
        Check(
            f"{len(lines)} raised: {', '.join(sorted(kinds))}",
            len(lines) == len(tried) and (kinds <= TYPED or not is_ours),
        ),
        Check(f"within {slowest_s:.1f} s", slowest_s <= LIMIT_S, timed=True),
    ]
    mend()
    if len(over) == len(tried):
        again = senders.send()
        checks.append(Check("sends work again when it is back", stage.accepted().issuperset(again)))
    stage.start_worker()
    stage.wait_done(60)
    return checks


def closed(stage: Stage) -> Sequence[Check]:
    """Send to a port on which nobody listens any more."""
    server = stage.place.server
    assert server is not None

    def kill(_: _Senders) -> None:
        if stage.place.name == RABBITMQ:
            time.sleep(QUEUE_IS_KNOWN_S)
        server.kill()

    return _refused(stage, kill, server.start)


def silent(stage: Stage) -> Sequence[Check]:
    """Send to a port that takes connections and never answers."""
    assert stage.place.server is not None
    proxy = stage.enter(Proxy(stage.place.server.port))
    stage.broker_url = proxy.url(stage.place.broker_url)
    return _refused(stage, lambda _: proxy.swallow(), lambda: proxy.swallow(False), warm=False)


def frozen(stage: Stage) -> Sequence[Check]:
    """Send by warm connections to a broker that stands still, or a file that somebody holds locked."""
    server = stage.place.server
    if server is not None:
        return _refused(stage, lambda _: server.freeze(), server.thaw)
    with closing(sqlite3.connect(path_of(stage.place.broker_url), isolation_level=None, timeout=30)) as other:
        return _refused(stage, lambda _: other.execute("BEGIN IMMEDIATE"), lambda: other.execute("ROLLBACK"))


def full(stage: Stage) -> Sequence[Check]:
    """Send to a broker that has no room: a full Redis, a RabbitMQ short of memory, a file that can't grow."""
    if stage.place.name == REDIS:
        port = stage.place.redis.port
        return _refused(stage, lambda _: fill_redis(port), lambda: redis_call(port, "CONFIG", "SET", "maxmemory", 0))
    if stage.place.name == RABBITMQ:
        rabbit = stage.place.rabbit
        return _refused(
            stage,
            lambda _: rabbit.evaluate(WATERMARK.format("0.000001")),
            lambda: rabbit.evaluate(WATERMARK.format("0.9")),
        )
    limited: list[int] = []

    def no_more(senders: _Senders) -> None:
        # Every file that they write to has this limit, so there must be room for the journal.
        size = (stage.directory / "journal").stat().st_size + JOURNAL_BYTES
        for producer in senders.processes:
            limited.append(producer.process.pid)
            resource.prlimit(producer.process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        senders.send()  # until the log of the file has reached it

    def more() -> None:
        for pid in limited:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    return _refused(stage, no_more, more)


GOAL: Final = "a typed error within 5 s, by delay() and adelay(), from one and from 20 threads; works again afterwards"

SCENARIOS = (
    Scenario("publish-closed", "publishing to a closed port", GOAL, (REDIS, RABBITMQ), closed, True, may_refuse=True),
    Scenario("publish-silent", "publishing to a silent port", GOAL, (REDIS, RABBITMQ), silent, True, may_refuse=True),
    Scenario(
        "publish-frozen",
        "publishing to a frozen broker, or a locked file",
        GOAL,
        (REDIS, RABBITMQ, SQLITE),
        frozen,
        True,
        may_refuse=True,
    ),
    Scenario(
        "publish-full",
        "publishing to a full broker",
        GOAL,
        (REDIS, RABBITMQ, SQLITE),
        full,
        may_refuse=True,
    ),
)
