"""A broker of several nodes loses the one that serves, while tasks run and are sent: it is killed, or its link is cut."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final

from celeriac.torture.cluster_places import (
    ClusterPlace,
    RabbitClusterPlace,
    open_rabbit_cluster,
    open_redis_cluster,
    open_sentinels,
    open_with_links,
)
from celeriac.torture.journal import END, START
from celeriac.torture.orders import ACCEPTED, REFUSED
from celeriac.torture.places import RABBITMQ, REDIS
from celeriac.torture.processes import Worker
from celeriac.torture.scenario import Check, Scenario
from celeriac.torture.scenarios.checks import goes_on, named, pids, same
from celeriac.torture.servers.network import why_no_links
from celeriac.torture.stage import Stage
from celeriac.torture.tally import running

REPLICA: Final[dict[str, Any]] = {"redis_durability": "replica"}
TYPED: Final = frozenset({"BrokerUnavailable", "PublishTimeout"})
RESUME_S: Final = {REDIS: 5.0, RABBITMQ: 5.0}
"""So soon after another node has taken the place of the one that was lost."""
LAG_S: Final = 1.0
"""What was settled so shortly before the fault may be unknown to the others: then it is run again."""
CUT_S: Final = 40.0
SHORT_CUT_S: Final = 20.0
"""How long the link is cut: for longer than the lease of 10 s, and than two heartbeats of RabbitMQ."""
PACE_S: Final = 0.01
OVER_S: Final = 180.0


def failover(stage: Stage) -> Sequence[Check]:
    """Kill the node that serves, again and again; another takes its place, and the dead one comes back as its replica."""
    return _failover(stage)


def failover_replica(stage: Stage) -> Sequence[Check]:
    """The same, where sending waits for a replica."""
    stage.settings.update(REPLICA)
    return _failover(stage)


def _failover(stage: Stage) -> Sequence[Check]:
    place = _cluster(stage)
    worker = stage.start_worker(4)
    before = pids(worker)
    resumed = []
    for _ in range(stage.scaled(3, least=1)):
        count = stage.scaled(1200, least=400)
        done = len(stage.ended())
        _, producer = stage.begin_sending(count, 0.01, pause_s=PACE_S)
        stage.wait(lambda done=done, count=count: len(stage.ended()) >= done + 0.2 * count, 60)  # type: ignore[misc]
        old = place.leader()
        _lose(stage, old.kill)
        place.wait_replaced(old)
        resumed.append(stage.time_recovery(time.time()))
        place.mend(old)  # while sending goes on: who waits for a replica needs one
        stage.finish_sending(producer)
        stage.wait_over(OVER_S)
    fresh = stage.send(10, 0.0)
    stage.wait_over(OVER_S)
    return [
        *goes_on(resumed, RESUME_S[place.name]),
        same(before, worker),
        _typed(stage),
        Check("sends work afterwards", stage.accepted() >= set(fresh)),
    ]


def cut_link(stage: Stage) -> Sequence[Check]:
    """Cut off the node that serves, with a worker and a producer, from all others, for longer than a lease."""
    return _cut_link(stage)


def cut_link_replica(stage: Stage) -> Sequence[Check]:
    """The same, where sending waits for a replica."""
    stage.settings.update(REPLICA)
    return _cut_link(stage)


def _cut_link(stage: Stage) -> Sequence[Check]:
    place = _cluster(stage)
    here = stage.start_worker(4)  # makes the queue
    old = place.leader()
    link = place.link_of(old)
    inside, outside = place.urls_from(old) if isinstance(place, RabbitClusterPlace) else (place.broker_url,) * 2
    stage.broker_url, stage.before = inside, link.location.before
    there = stage.start_worker(4)
    cut_s = CUT_S if stage.scale >= 1 else SHORT_CUT_S
    count = round((cut_s + 10.0) / PACE_S / 3)
    _, cut_producer = stage.begin_sending(count, 0.01, pause_s=3 * PACE_S)
    stage.broker_url, stage.before = outside, ()
    near = stage.start_worker(4)
    before = {worker: pids(worker) for worker in (here, there, near)}
    _, producer = stage.begin_sending(count, 0.01, pause_s=3 * PACE_S)
    stage.wait(lambda: len(stage.ended()) >= 0.1 * count, 60)
    at = time.time()
    _lose(stage, link.cut)
    if isinstance(place, RabbitClusterPlace):
        place.apart = {link.location.address}
    place.wait_replaced(old)
    stage.say(f"{old.at.address} replaced after {time.time() - at:.1f} s")
    resumed = stage.time_recovery(time.time())
    stage.wait(lambda: time.time() >= at + cut_s, cut_s + 60)
    link.restore()
    restored_at = time.time()
    if isinstance(place, RabbitClusterPlace):
        place.apart = set()
    for one in (cut_producer, producer):
        stage.finish_sending(one)
    fresh = stage.send(10, 0.0)
    stage.wait_over(OVER_S)
    stage.in_flight += _unheard(stage, there, at, restored_at)
    return [
        *goes_on([resumed], RESUME_S[place.name]),
        *(same(known, worker) for worker, known in before.items()),
        _typed(stage),
        Check("sends work afterwards", stage.accepted() >= set(fresh)),
    ]


# -- parts of them ----------------------------------------------------------------------------------------------------


def _cluster(stage: Stage) -> ClusterPlace:
    assert isinstance(stage.place, ClusterPlace)
    return stage.place


def _lose(stage: Stage, fault: Callable[[], object]) -> None:
    """Break something, and note as in flight also what others may not know yet to be settled."""
    before = Counter(line.key for line in stage.journal.of(END) if line.at > time.time() - LAG_S)
    held = stage.in_flight
    stage.interrupt(fault)
    known = running(stage.journal.lines)
    stage.in_flight = max(stage.in_flight, held + len({*before, *known}))


def _unheard(stage: Stage, worker: Worker, since: float, until: float) -> int:
    """Count the runs that a worker began while nobody could hear of it."""
    executors = {process.pid for process in worker.executors()}
    return sum(line.pid in executors and since <= line.at <= until + LAG_S for line in stage.journal.of(START))


def _typed(stage: Stage) -> Check:
    refused = stage.journal.of(REFUSED)
    wrong = {line.more["error"] for line in refused} - TYPED
    return Check(
        f"{len(refused)} of {len(refused) + len(stage.journal.of(ACCEPTED))} sends refused, with a typed error{named(wrong)}",
        not wrong,
    )


LOSES: Final = "what the replica had not received is lost and counted; no process dies, back in 5 s"
KEEPS: Final = "0 lost, doubled at most what was in flight, no process dies, back in 5 s"
SCENARIOS = (
    Scenario(
        "failover-sentinel",
        "Redis behind Sentinels: the master killed three times while producing",
        LOSES,
        (REDIS,),
        failover,
        may_refuse=True,
        may_lose=(REDIS,),
        open_place=open_sentinels,
    ),
    Scenario(
        "failover-sentinel-replica",
        'the same with redis_durability="replica"',
        KEEPS,
        (REDIS,),
        failover_replica,
        may_refuse=True,
        open_place=open_sentinels,
        in_tests=(REDIS,),
    ),
    Scenario(
        "failover-cluster",
        "Redis Cluster: the master killed three times while producing",
        LOSES,
        (REDIS,),
        failover,
        may_refuse=True,
        may_lose=(REDIS,),
        open_place=open_redis_cluster,
    ),
    Scenario(
        "failover-cluster-replica",
        'the same with redis_durability="replica"',
        KEEPS,
        (REDIS,),
        failover_replica,
        may_refuse=True,
        open_place=open_redis_cluster,
    ),
    Scenario(
        "failover-rabbit",
        "three nodes of RabbitMQ: the queue's leader killed three times while producing",
        KEEPS,
        (RABBITMQ,),
        failover,
        may_refuse=True,
        open_place=open_rabbit_cluster,
    ),
    Scenario(
        "cut-link",
        "the node that serves cut off, with a worker and a producer, for 40 s",
        f"{KEEPS} (Redis: {LOSES})",
        (REDIS, RABBITMQ),
        cut_link,
        may_refuse=True,
        may_lose=(REDIS,),
        open_place=open_with_links,
        why_not=why_no_links,
    ),
    Scenario(
        "cut-link-replica",
        'the same with redis_durability="replica"',
        KEEPS,
        (REDIS,),
        cut_link_replica,
        may_refuse=True,
        open_place=open_with_links,
        why_not=why_no_links,
    ),
)
