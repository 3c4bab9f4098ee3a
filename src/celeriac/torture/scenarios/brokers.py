"""The broker goes away, is full, or its connections die, while tasks run and are sent."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

from celeriac.torture.journal import END, START
from celeriac.torture.orders import REFUSED
from celeriac.torture.places import RABBITMQ, REDIS
from celeriac.torture.processes import Worker
from celeriac.torture.scenario import Check, Scenario
from celeriac.torture.scenarios.checks import goes_on, named, pids, same
from celeriac.torture.servers.proxy import Proxy
from celeriac.torture.servers.redis_call import redis_call, redis_info
from celeriac.torture.servers.service import ServiceError
from celeriac.torture.stage import Stage

HALF_OPEN_S: Final = {REDIS: 15.0, RABBITMQ: 25.0}
"""The same for a connection that died silently: its silence has to be found first, on RabbitMQ after two heartbeats of 10 s."""
AWAY_S: Final = 3.0
FOREIGN: Final = "x" * 10_000
TYPED: Final = frozenset({"BrokerFull", "BrokerUnavailable", "PublishTimeout"})
"""Errors by which a caller knows what became of a send."""


def redis_restart(stage: Stage) -> Sequence[Check]:
    """Kill Redis and start it again after a while, in turns while nothing and while much is sent."""
    worker = stage.start_worker()
    before = pids(worker)
    rounds = stage.scaled(4, least=2)
    resumed = []
    for number in range(rounds):
        count = stage.scaled(400, least=100)
        producer = None
        if number % 2:
            _, producer = stage.begin_sending(count, 0.02, pause_s=(AWAY_S + 1.0) / count)
        else:
            stage.send(count, 0.02)
        done = len(stage.ended())
        stage.wait(lambda done=done, count=count: len(stage.ended()) >= done + 0.1 * count, 60)  # type: ignore[misc]
        resumed.append(_away(stage, stage.place.redis.kill, stage.place.redis.start))
        if producer is not None:
            stage.finish_sending(producer)
        stage.wait_done(90)
    return [*goes_on(resumed), same(before, worker), _few_refused(stage, rounds)]


def redis_full(stage: Stage) -> Sequence[Check]:
    """Fill Redis with tasks and with what is not ours, send, and let a worker that was there and a new one empty it."""
    redis = stage.place.redis
    busy = stage.send(2, stage.scaled(10, least=5))  # so that nothing is drained before it is full
    stage.send(
        stage.scaled(3000, least=1200), 0.002
    )  # enough that what it makes room for is more than its results take
    worker = stage.start_worker()
    before = pids(worker)
    stage.wait(lambda: stage.begun() >= set(busy), 60)
    fill_redis(redis.port)
    full = set(stage.send(5, 0.0))
    refused = [line for line in stage.journal.of(REFUSED) if line.key in full]
    longest_s = max((line.more["took_s"] for line in refused), default=0.0)
    wrong = {line.more["error"] for line in refused} - TYPED
    late = stage.start_worker()
    after = pids(late)
    stage.wait_done(120)
    again = set(stage.send(20, 0.0))
    stage.wait_done(60)
    stored = int(redis_call(redis.port, "EVAL", "return #redis.call('KEYS', 'celery-task-meta-*')", 0))
    ended = len(stage.ended())
    return [
        Check(f"{len(refused)} of {len(full)} sends to a full Redis raised", len(refused) > 0),
        Check(f"what they raised was typed{named(wrong)}", not wrong),
        Check(f"each within {longest_s:.1f} s", longest_s <= 1.0, timed=True),
        Check(f"{stored} of {ended} results stored", stored == ended),
        Check("sends work again once it is drained", stage.accepted() >= again),
        same(before, worker),
        same(after, late),
    ]


def connections_cut(stage: Stage) -> Sequence[Check]:
    """Have RabbitMQ close all connections, again and again, while tasks run and are sent."""
    worker, lasting = _at_work(stage)
    before = pids(worker)
    count = stage.scaled(2000, least=300)
    _, producer = stage.begin_sending(count, 0.005, pause_s=0.001)
    resumed = []
    for part in (0.2, 0.45, 0.7):
        stage.wait(lambda part=part: len(stage.accepted()) >= part * count, 60)  # type: ignore[misc]
        stage.interrupt(stage.place.rabbit.cut_connections)
        resumed.append(stage.time_recovery(time.time()))
    stage.finish_sending(producer)
    stage.wait_done(120)
    return [*goes_on(resumed), same(before, worker), _went_on(stage, lasting), _few_refused(stage, 3)]


def broker_stopped(stage: Stage) -> Sequence[Check]:
    """Stop RabbitMQ properly and start it again, while tasks run and are sent."""
    rabbit = stage.place.rabbit
    return _rabbit_away(stage, rabbit.stop_app, rabbit.start_app)


def broker_killed(stage: Stage) -> Sequence[Check]:
    """Kill RabbitMQ's node and start it again, while tasks run and are sent."""
    rabbit = stage.place.rabbit
    return _rabbit_away(stage, rabbit.kill, rabbit.start)


def half_open(stage: Stage) -> Sequence[Check]:
    """Let the connections of a worker and a producer die of which neither is told, while tasks run and are sent."""
    assert stage.place.server is not None
    proxy = stage.enter(Proxy(stage.place.server.port))
    stage.broker_url = proxy.url(stage.place.broker_url)
    worker, lasting = _at_work(stage)
    before = pids(worker)
    _, producer = stage.begin_sending(stage.scaled(200, least=40), 0.02, pause_s=0.1)
    stage.wait(lambda: len(stage.ended()) >= 10, 60)
    stage.interrupt(proxy.kill_silently)
    at = time.time()
    resumed = stage.time_recovery(at + 1.0, deadline_s=90)  # what it had already is done within that second
    stage.finish_sending(producer)
    fresh = stage.send(10, 0.0)
    stage.wait_done(120)
    return [
        Check("work goes on", resumed is not None),
        Check(
            f"after {_told(resumed)}",
            resumed is not None and resumed + 1.0 <= HALF_OPEN_S[stage.place.name],
            timed=True,
        ),
        Check("sends work again afterwards", stage.accepted() >= set(fresh)),
        same(before, worker),
        _ran_on(stage, lasting),
    ]


# -- parts of them ----------------------------------------------------------------------------------------------------


def _at_work(stage: Stage) -> tuple[Worker, list[str]]:
    """Start a worker that is busy with two tasks that outlast the fault, and has two slots for others."""
    worker = stage.start_worker(4)
    lasting = stage.send(2, stage.scaled(30, least=12))
    stage.wait(lambda: stage.begun() >= set(lasting), 60)
    return worker, lasting


def _away(stage: Stage, down: Callable[[], object], up: Callable[[], object]) -> float | None:
    """Take the broker away for a while; return the seconds from its return until a task begins."""
    stage.interrupt(down)
    time.sleep(AWAY_S)
    up()
    return stage.time_recovery(time.time())


def _rabbit_away(stage: Stage, down: Callable[[], object], up: Callable[[], object]) -> Sequence[Check]:
    worker, lasting = _at_work(stage)
    before = pids(worker)
    count = stage.scaled(800, least=150)
    _, producer = stage.begin_sending(count, 0.01, pause_s=(AWAY_S + 2.0) / count)
    stage.wait(lambda: len(stage.ended()) >= 0.1 * count, 60)
    resumed = _away(stage, down, up)
    stage.finish_sending(producer)
    stage.wait_done(120)
    return [*goes_on([resumed]), same(before, worker), _went_on(stage, lasting)]


def fill_redis(port: int) -> None:
    """Write what is not ours into a Redis until it takes nothing more, and a bit beyond that, for what connections take and give back."""

    def limit(more: int) -> None:
        used = int(redis_info(port, "memory")["used_memory"])
        redis_call(port, "CONFIG", "SET", "maxmemory", used + more)

    limit(500_000)
    with contextlib.suppress(ServiceError):  # it is full
        for number in itertools.count():
            redis_call(port, "SET", f"foreign:{number}", FOREIGN)
    limit(-50_000)


def _ran_on(stage: Stage, keys: Sequence[str]) -> Check:
    """Say whether the first run of each of these came to its end, though its acknowledgement may have been swallowed."""
    first = {line.key: line.pid for line in reversed(stage.journal.of(START))}
    through = [key for key in keys if first.get(key) in {line.pid for line in stage.journal.of(END, key)}]
    return Check(f"{len(through)} of {len(keys)} long tasks ran on meanwhile", len(through) == len(keys))


def _went_on(stage: Stage, keys: Sequence[str]) -> Check:
    """Say whether these tasks ran through, once."""
    starts = Counter(line.key for line in stage.journal.of(START))
    ends = Counter(line.key for line in stage.journal.of(END))
    through = [key for key in keys if starts[key] == ends[key] == 1]
    return Check(f"{len(through)} of {len(keys)} long tasks ran on meanwhile, once", len(through) == len(keys))


def _few_refused(stage: Stage, most: int) -> Check:
    """Say whether only those sends were refused whose connection broke under them."""
    refused = len(stage.journal.of(REFUSED))
    return Check(f"{refused} sends refused", refused <= most, timed=True)


def _told(seconds: float | None) -> str:
    return "never" if seconds is None else f"{seconds + 1.0:.1f} s"


SCENARIOS = (
    Scenario(
        "redis-restart",
        "Redis killed and restarted",
        "0 lost, doubled at most what was in flight, back in 2 s, no process dies",
        (REDIS,),
        redis_restart,
        for_all=True,
        may_refuse=True,
        in_tests=(REDIS,),
    ),
    Scenario(
        "redis-full",
        "Redis full",
        "sends raise within 1 s, workers drain it, results are stored, no process dies",
        (REDIS,),
        redis_full,
        may_refuse=True,
        in_tests=(REDIS,),
    ),
    Scenario(
        "rabbitmq-cut",
        "all connections to RabbitMQ closed, three times, while producing",
        "no accepted send lost, doubled at most what was in flight, back in 2 s, tasks run on",
        (RABBITMQ,),
        connections_cut,
        for_all=True,
        may_refuse=True,
    ),
    Scenario(
        "rabbitmq-stopped",
        "RabbitMQ stopped and started while producing",
        "no accepted send lost, doubled at most what was in flight, back in 2 s, tasks run on",
        (RABBITMQ,),
        broker_stopped,
        for_all=True,
        may_refuse=True,
    ),
    Scenario(
        "rabbitmq-killed",
        "RabbitMQ killed and started while producing",
        "no accepted send lost, doubled at most what was in flight, back in 2 s, tasks run on",
        (RABBITMQ,),
        broker_killed,
        for_all=True,
        may_refuse=True,
    ),
    Scenario(
        "half-open",
        "connections dead and nobody told, while producing",
        "no accepted send lost, doubled at most what was in flight, found by heartbeat, tasks run on",
        (REDIS, RABBITMQ),
        half_open,
        may_refuse=True,
        in_tests=(REDIS,),
    ),
)
