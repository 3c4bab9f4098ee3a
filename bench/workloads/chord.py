"""How fast many tasks are joined."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from bench.catalogue import REDIS, RESULTS, RPC, System
from bench.run import WARM_UP, Run
from bench.servers import Servers
from bench.workloads.base import Metric, Values, Workload

FIRST: Final = 10


def measure(system: System, servers: Servers, count: int) -> Values:
    """Send a chord, and take the time from the call to the first line of its body.

    Members are counted in Redis where results go through RabbitMQ, which counts nothing.
    """
    counted = replace(system, backend=REDIS) if system.backend == RPC else system
    with Run(counted, servers, RESULTS) as run:
        run.warm_up()
        run.client.order("chord", FIRST)
        run.until_done(WARM_UP + 1)
        sending = run.client.order("chord", count)
        run.until_done(WARM_UP + 2)
        sent_at, ran_at = run.records.read()[-1]
    return {"rate": count / (ran_at - sent_at), "sent": sending.seconds}


WORKLOAD = Workload(
    name="chord",
    title="A chord, from the call to the start of its body",
    count=1000,
    short_count=200,
    metrics=(Metric("rate", "members/s", compared=True), Metric("sent", "sent in s", digits=2)),
    measure=measure,
    fixed=True,
)
