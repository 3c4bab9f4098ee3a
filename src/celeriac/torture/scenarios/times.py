"""Tasks that wait, or last, longer than anybody's patience; and workers with nothing to do."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from typing import Final

import psutil

from celeriac.torture.faketime import wrong_clock
from celeriac.torture.journal import START
from celeriac.torture.orders import ACCEPTED
from celeriac.torture.places import RABBITMQ, REDIS, SQLITE
from celeriac.torture.processes import Worker
from celeriac.torture.scenario import COUNTDOWN, Check, Scenario
from celeriac.torture.stage import Stage

EVERYWHERE = (REDIS, RABBITMQ, SQLITE)

LATE_MAX_S: Final = 1.0
LATE_PART: Final = 0.99
EARLY_MAX_S: Final = 0.002
"""Clocks are read a moment apart."""
ETA_LEASES: Final = 3
LONG_LEASES: Final = 10

CONSUMER_TIMEOUT_S: Final = 10
RABBIT_SETTINGS: Final = {"consumer_timeout": CONSUMER_TIMEOUT_S * 1000, "channel_tick_interval": 1000}
"""Milliseconds; claims are looked at each minute by default."""
CLAIM_SECURE_S: Final = 2.0
"""For a consumer_timeout that is so much shorter than the usual one, too."""

WRONG_S: Final = 3600.0
WRONG_LATE_MAX_S: Final = 3.0

IDLE_CPU_MAX: Final = 0.02
IDLE_GROWTH_MAX_BYTES: Final = 2 * 2**20


def eta(stage: Stage) -> Sequence[Check]:
    """Have tasks wait for three leases, and let a second worker join meanwhile."""
    lease_s, keys = _lease(stage, 10.0, 1.0), stage.scaled(100, least=20)
    stage.start_worker()
    countdown_s = ETA_LEASES * lease_s
    stage.say(f"{keys} tasks wait {countdown_s:g} s")
    sent = stage.send(keys, seconds=0, countdown_s=countdown_s)
    stage.start_worker()
    stage.wait_done(countdown_s + 30)
    return _punctual(stage, sent, countdown_s)


def eta_killed(stage: Stage) -> Sequence[Check]:
    """Kill every worker while tasks wait, and start another."""
    keys, countdown_s = stage.scaled(100, least=20), 30.0 if stage.scale >= 1 else 6.0
    workers = [stage.start_worker(), stage.start_worker()]
    sent = stage.send(keys, seconds=0, countdown_s=countdown_s)
    stage.interrupted(unsettled=True)
    for worker in workers:
        worker.kill()
    stage.say("all workers were killed")
    stage.start_worker()
    ready_at = time.time()
    stage.wait_done(countdown_s + 30)
    return _punctual(stage, sent, countdown_s, ready_at)


def long_task(stage: Stage) -> Sequence[Check]:
    """Run tasks of ten leases while another worker has nothing to do."""
    lease_s = _lease(stage, 3.0, 1.0)
    seconds = LONG_LEASES * lease_s
    stage.start_worker()
    stage.say(f"two tasks of {seconds:g} s")
    sent = stage.send(2, seconds=seconds)
    stage.wait(lambda: len(stage.begun()) == len(sent), 30)
    stage.start_worker()
    stage.wait_done(4 * seconds + 30)
    return [_once(stage)]


def consumer_timeout(stage: Stage) -> Sequence[Check]:
    """Run tasks of twice RabbitMQ's consumer_timeout, with short ones among them."""
    if stage.system.name == "celeriac":
        stage.settings["worker_claim_secure_s"] = CLAIM_SECURE_S
    for name, value_ms in RABBIT_SETTINGS.items():
        stage.place.rabbit.evaluate(f"application:set_env(rabbit, {name}, {value_ms}).")
    seconds = 2.0 * CONSUMER_TIMEOUT_S
    workers = [stage.start_worker(), stage.start_worker()]
    stage.say(f"two tasks of {seconds:g} s, where a worker may have a message for {CONSUMER_TIMEOUT_S} s")
    stage.send(2, seconds=seconds)
    _, producer = stage.begin_sending(100, seconds=0.02, pause_s=seconds / 100)
    stage.finish_sending(producer)
    stage.wait_done(2 * seconds + 30)
    return [_once(stage), _alive(workers)]


def same_name(stage: Stage) -> Sequence[Check]:
    """Run two workers of one name, and kill one of them at work."""
    count = stage.scaled(500, least=60)
    named = ("-n", "twin@torture") if stage.system.name == "celeriac" else ()
    first, second = stage.start_worker(2, *named), stage.start_worker(2, *named)
    stage.send(count)
    stage.wait_part_done(0.2, count)
    stage.interrupted(unsettled=True)
    first.kill()
    stage.wait_done(60)
    return [_alive([second])]


def wrong_clock_ahead(stage: Stage) -> Sequence[Check]:
    """Have a worker whose clock is an hour ahead."""
    return _wrong_clock(stage, WRONG_S)


def wrong_clock_behind(stage: Stage) -> Sequence[Check]:
    """Have a worker whose clock is an hour behind."""
    return _wrong_clock(stage, -WRONG_S)


def _wrong_clock(stage: Stage, offset_s: float) -> Sequence[Check]:
    count, countdown_s = stage.scaled(200, least=20), 5.0
    stage.environment = wrong_clock(offset_s)
    wrong = stage.start_worker()
    stage.environment = {}
    stage.say("tasks of now, and tasks that wait, with the wrong worker alone")
    stage.send(count, seconds=0)
    began = time.monotonic()
    waiting = set(stage.send(count, seconds=0, countdown_s=countdown_s))
    time.sleep(max(0.0, began + countdown_s - 0.1 - time.monotonic()))
    early = len(stage.begun() & waiting)
    alone_s = stage.wait_done(60)
    late_s = time.monotonic() - began - countdown_s
    stage.say("a right one beside it, and the wrong one is killed at work")
    right = stage.start_worker()
    more = stage.send(count, seconds=0.05)
    stage.wait(lambda: len(stage.ended() & set(more)) >= count // 4, 30)
    stage.interrupted(unsettled=True)
    wrong.kill()
    done_s = stage.wait_done(60)
    return [
        Check(f"{early} ran before their time", early == 0),
        Check("the wrong worker does its work alone", alone_s is not None),
        Check(f"what waited was done {late_s:.1f} s after its time", late_s <= WRONG_LATE_MAX_S, timed=True),
        Check("its work is taken over", done_s is not None),
        _alive([right]),
    ]


def idle(stage: Stage) -> Sequence[Check]:
    """Leave a worker alone, and see what it takes of the machine."""
    worker = stage.start_worker()
    stage.send(20, seconds=0)
    stage.wait_done(30)
    seconds = 60.0 * max(stage.scale, 0.05)
    time.sleep(min(2.0, seconds))  # what it does after the last task, and no more
    before, memory, began = _cpu_s(worker), worker.memory_bytes(), time.monotonic()
    stage.say(f"nothing is done for {seconds:g} s")
    time.sleep(seconds)
    part = (_cpu_s(worker) - before) / (time.monotonic() - began)
    grown = max((size - memory.get(pid, size) for pid, size in worker.memory_bytes().items()), default=0)
    return [
        Check(f"{part:.1%} of a processor while there is nothing to do", part < IDLE_CPU_MAX, timed=True),
        Check(f"no process grew by more than {grown / 2**20:.1f} MB", grown < IDLE_GROWTH_MAX_BYTES),
        _alive([worker]),
    ]


def _lease(stage: Stage, full_s: float, short_s: float) -> float:
    """Return the lease of the run; it is set where it is not what workers have by default."""
    lease_s = full_s if stage.scale >= 1 else short_s
    if stage.system.name == "celeriac" and lease_s != 10.0:
        stage.settings |= {"worker_lease_s": lease_s, "worker_heartbeat_s": lease_s * 0.3}
    return lease_s


def _punctual(stage: Stage, keys: Collection[str], countdown_s: float, ready_at: float = 0.0) -> list[Check]:
    """Return what has to hold of tasks that waited; `ready_at`: when there was a worker again (Unix seconds)."""
    # A task is due so long after its call began.
    due = {line.key: line.at - line.more["took_s"] + countdown_s for line in stage.journal.of(ACCEPTED)}
    first: dict[str, float] = {}
    for line in stage.journal.of(START):
        first.setdefault(line.key, line.at)
    ran = [key for key in keys if key in first]
    if not ran:
        return [Check("none of them ran", holds=False)]
    soonest = min(first[key] - due[key] for key in ran)
    late = sorted(first[key] - max(due[key], ready_at) for key in ran)
    at = late[round((len(late) - 1) * LATE_PART)]
    return [
        Check(f"the first ran {soonest * 1000:.0f} ms after its time", soonest >= -EARLY_MAX_S),
        Check(f"99 of 100 ran at most {at:.2f} s late", at <= LATE_MAX_S, timed=True),
        _once(stage),
    ]


def _once(stage: Stage) -> Check:
    again = stage.tally().begun_again
    return Check(f"{again} begun again", again == 0)


def _alive(workers: Collection[Worker]) -> Check:
    dead = [worker.name for worker in workers if not worker.running]
    return Check(f"no worker died, but {', '.join(dead)}" if dead else "no worker died", not dead)


def _cpu_s(worker: Worker) -> float:
    spent = 0.0
    for process in worker.family():
        try:
            times = process.cpu_times()
            spent += times.user + times.system
        except psutil.NoSuchProcess:
            continue
    return spent


SCENARIOS = (
    Scenario(
        "eta",
        "ETA longer than the lease, a second worker joins",
        "0 doubled, 0 lost, never early, at most 1 s late",
        EVERYWHERE,
        eta,
        for_all=True,
        needs=(COUNTDOWN,),
        duplicates=False,
        in_tests=(REDIS,),
    ),
    Scenario(
        "eta-killed",
        "every worker is killed while tasks wait for their ETA",
        "0 doubled, 0 lost, never early, at most 1 s late",
        EVERYWHERE,
        eta_killed,
        for_all=True,
        needs=(COUNTDOWN,),
        duplicates=False,
    ),
    Scenario(
        "long-task",
        "a task of ten leases, another worker is idle",
        "0 doubled, each begun once",
        EVERYWHERE,
        long_task,
        for_all=True,
        duplicates=False,
    ),
    Scenario(
        "consumer-timeout",
        "a task of twice RabbitMQ's consumer_timeout",
        "0 doubled, each begun once, no worker dies",
        (RABBITMQ,),
        consumer_timeout,
        for_all=True,
        duplicates=False,
    ),
    Scenario(
        "same-name",
        "two workers of one name, one is killed",
        "0 lost, doubled at most what was in flight, the other goes on",
        EVERYWHERE,
        same_name,
    ),
    Scenario(
        "clock-ahead",
        "a worker's clock is an hour ahead",
        "0 lost, never early, taken over as ever",
        (REDIS, RABBITMQ),
        wrong_clock_ahead,
    ),
    Scenario(
        "clock-behind",
        "a worker's clock is an hour behind",
        "0 lost, nothing waits an hour, taken over as ever",
        (REDIS, RABBITMQ),
        wrong_clock_behind,
    ),
    Scenario(
        "idle",
        "a worker has nothing to do",
        "under 2 percent of a processor, no growth",
        EVERYWHERE,
        idle,
        duplicates=False,
    ),
)
