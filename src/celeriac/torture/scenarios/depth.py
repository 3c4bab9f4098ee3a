"""Queues grow very long: nothing that looks at them or takes from them may cost more for it."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Final

from celeriac.torture.orders import QUEUE
from celeriac.torture.places import RABBITMQ, REDIS
from celeriac.torture.scenario import Check, Scenario
from celeriac.torture.scenarios.filling import body_bytes, fill, looking
from celeriac.torture.servers.redis_call import redis_call, redis_info
from celeriac.torture.stage import Stage

SMALL: Final = 1_000
TIMES: Final = 5
RATIO_MAX: Final = 2.0
"""How much longer it may take with a hundred or a thousand times as many messages, on a machine that does other things, too."""
NOTHING_S: Final = 0.05
"""Differences smaller than this tell nothing."""
PURGE_S: Final = 1.0
"""For 100,000 messages."""
OVERHEAD_BYTES: Final = 600
"""What a message may cost Redis beyond its body."""


def depth(stage: Stage) -> Sequence[Check]:
    """Fill a queue step by step; at each size look at it, start a worker, and stop it again."""
    sizes = [SMALL, stage.scaled(100_000, least=10_000), *([1_000_000] if stage.scale >= 1 else [])]
    took: dict[str, list[float]] = {}
    checks: list[Check] = []
    with looking(stage.place) as app, closing(app.broker.admin()) as admin:
        admin.declare([QUEUE])
        for size in sizes:
            stage.say(f"{size} messages")
            there = min(admin.depths([QUEUE])[0].ready, size - 1)
            if stage.place.name == REDIS:
                before = _used_bytes(stage)
                fill(stage.place, size - there)
                each = (_used_bytes(stage) - before) / (size - there) - body_bytes()
            else:
                each = 0.0
                fill(stage.place, size - there)
            for what, do in (
                ("depths", lambda: admin.depths([QUEUE])),
                ("the dead letters", lambda: admin.dead_letters(QUEUE, 10)),
                ("celeriac queues", lambda: _command(stage)),
            ):
                took.setdefault(what, []).append(_median_s(do))
            took.setdefault("a worker's first task", []).append(_first_task_s(stage))
            if each and size == sizes[-1]:
                told = f"{each:.0f} bytes a message in Redis beyond its body"
                checks.append(Check(told, each < OVERHEAD_BYTES))
        for what, seconds in took.items():
            longest = max(seconds[1:])
            grows = longest > RATIO_MAX * seconds[0] and longest - seconds[0] > NOTHING_S
            told = ", ".join(f"{one * 1000:.0f}" for one in seconds)
            checks.append(
                Check(f"{what}: {told} ms with {', '.join(f'{size:,}' for size in sizes)}", not grows, timed=True)
            )
        checks.append(_purge(stage, admin.purge, admin.depths([QUEUE])[0].ready))
        left = admin.depths([QUEUE])[0].ready
    checks.append(Check(f"{left} left after the purge", left == 0))
    return checks


def _purge(stage: Stage, purge: Callable[[str], int], there: int) -> Check:
    began = time.monotonic()
    purge(QUEUE)
    took_s = time.monotonic() - began
    return Check(f"purge of {there:,} in {took_s:.2f} s", took_s <= PURGE_S * max(1.0, there / 100_000), timed=True)


def _median_s(do: Callable[[], object]) -> float:
    taken = []
    for _ in range(TIMES):
        began = time.perf_counter()
        do()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def _command(stage: Stage) -> None:
    subprocess.run(
        [sys.executable, "-m", "celeriac", "-b", stage.place.broker_url, "queues"],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _first_task_s(stage: Stage) -> float:
    """Start a worker and return how long it took until a task had run; then have it give everything back."""
    began = time.time()
    worker = stage.start_worker(2, "-l", "INFO")
    stage.wait(lambda: "succeeded in" in worker.log, 120)
    took_s = time.time() - began
    worker.terminate()
    worker.wait(60)
    return took_s


def _used_bytes(stage: Stage) -> int:
    port = stage.place.redis.port
    redis_call(port, "MEMORY", "PURGE")
    return int(redis_info(port, "memory")["used_memory"])


SCENARIOS = (
    Scenario(
        "depth",
        "100,000 and 1,000,000 messages queued",
        "start, depths, inspection and claim do not grow with the queue; a message costs Redis itself and under 0.1 kB",
        (REDIS, RABBITMQ),
        depth,
    ),
)
