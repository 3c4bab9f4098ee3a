"""Nothing grows: memory, descriptors and threads of workers and producers that work for very long, or lose much."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import psutil
from msgspec import Struct

from celeriac.torture.places import RABBITMQ, REDIS, SQLITE
from celeriac.torture.processes import Worker
from celeriac.torture.scenario import Check, Scenario
from celeriac.torture.scenarios.filling import fill
from celeriac.torture.servers.proxy import Proxy
from celeriac.torture.stage import Stage

GROWTH_MAX_BYTES: Final = 2 * 1024 * 1024
LATE: Final = 3
"""Descriptors and threads that a process makes once, but only when it has lived for a while: no leak, which would be one each time."""
AT_ONCE: Final = 10_000
"""So many are queued at a time."""
DRAIN_S: Final = 600.0
SETTLE_S: Final = 60.0
CUTS: Final = 100


class _Size(Struct, frozen=True):
    """What a process takes of the machine."""

    bytes: int
    """Memory that no other process shares."""
    descriptors: int
    threads: int


def tasks(stage: Stage) -> Sequence[Check]:
    """Put very many small tasks through one worker."""
    count = stage.scaled(200_000, least=2 * AT_ONCE)
    warm_up = max(count // 5, AT_ONCE)  # SQLite has filled its cache of pages by then
    worker = stage.start_worker()
    _through(stage, warm_up)
    before = _sizes(worker.family())
    _through(stage, count - warm_up)
    after = _sizes(worker.family())
    return [*_compared(before, after), Check("no process was replaced", before.keys() == after.keys())]


def calls(stage: Stage) -> Sequence[Check]:
    """Call very often in one process, and read as many results."""
    worker = stage.start_worker()
    count = stage.scaled(20_000, least=1_000)
    keys, producer = stage.begin_sending(count // 4, 0.0, read=True)
    stage.finish_sending(producer)
    process = [psutil.Process(producer.process.pid)]
    before = _sizes(process)
    for _ in range(3):
        stage.finish_sending(stage.begin_sending(count // 4, 0.0, read=True)[1])
    stage.wait_done(60)
    return [
        *_compared(before, _sizes(process)),
        Check(f"{len(keys)} results were read at a time", worker.running),
    ]


def reconnects(stage: Stage) -> Sequence[Check]:
    """Cut all connections of a worker and a producer a hundred times."""
    assert stage.place.server is not None
    proxy = stage.enter(Proxy(stage.place.server.port))
    stage.broker_url = proxy.url(stage.place.broker_url)
    worker = stage.start_worker()
    _, producer = stage.begin_sending(20, 0.0)
    stage.finish_sending(producer)
    stage.wait_done(SETTLE_S)
    processes = [*worker.family(), psutil.Process(producer.process.pid)]
    before: dict[int, _Size] = {}
    cuts = stage.scaled(CUTS, least=20)
    for number in range(cuts):
        stage.interrupt(proxy.cut)
        stage.send(2, 0.0)
        stage.wait_done(SETTLE_S)
        if number == cuts // 4:  # everything that is made once has been made by now
            before = _sizes(processes)
    stage.wait(lambda: not _more(before, _sizes(processes)), SETTLE_S)
    return _compared(before, _sizes(processes))


def recycled(stage: Stage) -> Sequence[Check]:
    """Have a worker renew its executors again and again."""
    count = stage.scaled(2_000, least=300)
    worker = stage.start_worker(2, "--max-tasks-per-child", "10")
    stage.send(count // 4, 0.0)
    stage.wait_done(DRAIN_S)
    lasting = _lasting(worker)
    before = _sizes(lasting)
    stage.send(count - count // 4, 0.0)
    stage.wait_done(DRAIN_S)
    stage.wait(lambda: not _more(before, _sizes(lasting)) and len(worker.executors()) == 2, SETTLE_S)
    runs = {line.pid for line in stage.journal.of("start")}
    return [
        *_compared(before, _sizes(lasting)),
        Check(f"{len(runs)} executors were used", len(runs) >= count / 10),
        Check(f"{len(worker.executors())} are left", len(worker.executors()) == 2),
    ]


# -- parts of them ----------------------------------------------------------------------------------------------------


def _through(stage: Stage, count: int) -> None:
    for start in range(0, count, AT_ONCE):
        stage.say(f"{start} of {count}")
        fill(stage.place, min(AT_ONCE, count - start))
        stage.wait(stage.drained, DRAIN_S)


def _lasting(worker: Worker) -> list[psutil.Process]:
    executors = {process.pid for process in worker.executors()}
    return [process for process in worker.family() if process.pid not in executors]


def _sizes(processes: Sequence[psutil.Process]) -> dict[int, _Size]:
    found = {}
    for process in processes:
        with process.oneshot():
            found[process.pid] = _Size(process.memory_full_info().uss, process.num_fds(), process.num_threads())
    return found


def _more(before: dict[int, _Size], after: dict[int, _Size]) -> bool:
    pairs = [(size, after[pid]) for pid, size in before.items() if pid in after]
    return any(new.descriptors > old.descriptors + LATE or new.threads > old.threads + LATE for old, new in pairs)


def _compared(before: dict[int, _Size], after: dict[int, _Size]) -> list[Check]:
    pairs = [(size, after[pid]) for pid, size in before.items() if pid in after]
    growth = max((new.bytes - old.bytes for old, new in pairs), default=GROWTH_MAX_BYTES)
    descriptors = max((new.descriptors - old.descriptors for old, new in pairs), default=1)
    threads = max((new.threads - old.threads for old, new in pairs), default=1)
    return [
        Check(f"no process grew by more than {growth / 2**20:.1f} MB", growth < GROWTH_MAX_BYTES),
        Check(f"{max(0, descriptors)} more descriptors", descriptors <= LATE),
        Check(f"{max(0, threads)} more threads", threads <= LATE),
    ]


GOAL: Final = "at most 2 MB a process, no descriptor or thread more"

SCENARIOS = (
    Scenario("leak-tasks", "200,000 tasks through one worker", GOAL, (REDIS, RABBITMQ, SQLITE), tasks),
    Scenario("leak-calls", "20,000 calls and results in one process", GOAL, (REDIS, RABBITMQ, SQLITE), calls),
    Scenario("leak-reconnects", "100 times all connections cut", GOAL, (REDIS, RABBITMQ), reconnects, may_refuse=True),
    Scenario("leak-recycled", "executors renewed after every 10 tasks", GOAL, (REDIS,), recycled),
)
