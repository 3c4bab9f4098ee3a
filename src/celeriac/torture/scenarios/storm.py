"""A storm: workers, executors and the broker are killed at random while they work."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections import Counter
from collections.abc import Collection, Iterator, Sequence

import psutil
from msgspec import Struct

from celeriac.torture.journal import END, START, Line
from celeriac.torture.places import RABBITMQ, REDIS, SQLITE
from celeriac.torture.processes import Worker, wait_dead
from celeriac.torture.scenario import Check, Scenario
from celeriac.torture.stage import Stage

TASKS, KILLS = 4000, 100
WORKERS = 3
BROKER_KILLS = {REDIS: 10, RABBITMQ: 3, SQLITE: 0}
"""Of the 100; a RabbitMQ needs seconds to be back."""
WORKER_PART = 0.16
"""Of what is killed: whole workers, or, every second time, their core alone; all else are executors and fork servers."""
SERVER_PART = 0.04
PACE_S = 0.006
"""Between two sends: there is something to be sent for most of the storm."""
CRASH_LIMIT = 30
"""Who is killed at random is no poison, and must not be taken for one."""
NEXT_KILL_S = 5.0
"""The next kill comes when some tasks more are done, or, when none are, after so long."""
START_DEADLINE_S = 60.0
SETTLED_S = 2.0
"""What has ended longer ago than this is settled."""

WORK_OFF_S = 120.0
"""Far beyond what is needed for what the storm has left."""
SETTLE_DEADLINE_S = 30.0


EXECUTOR, SERVER, CORE, TREE, BROKER = "executor", "fork server", "core", "worker", "broker"


class Fault(Struct):
    """One kill: what it hit, and when."""

    what: str
    pids: Collection[int]
    """The executors that were hit; empty: all."""
    at: float
    until: float
    """Unix seconds: all of them were dead then; the broker was back again."""

    def explains(self, line: Line, ended_at: float | None) -> bool:
        """Tell whether a run of which `line` is the start may be repeated because of it."""
        hit = not self.pids or line.pid in self.pids
        return hit and line.at <= self.until and (ended_at is None or ended_at >= self.at - SETTLED_S)


class Storm:
    """Duties: 1. keep some workers running; 2. kill what the seed says, when a part of the tasks is done; 3. count what that
    interrupts; 4. tell which runs nothing explains.
    """

    def __init__(self, stage: Stage, kills: Sequence[str]) -> None:
        self._stage = stage
        self._kills = kills
        self._workers: list[Worker] = []
        self._pids: dict[str, set[int]] = {}
        """Of each worker: all executors that it was ever seen to have."""
        self._dead: set[int] = set()
        self.faults: list[Fault] = []

    def rage(self, tasks: int) -> None:
        """Send so many tasks, and kill one thing after the other while they are worked on; blocking."""
        stage = self._stage
        self._workers = [stage.start_worker(ready=False) for _ in range(WORKERS)]
        for worker in self._workers:
            worker.wait_ready()
        _, producer = stage.begin_sending(tasks, pause_s=PACE_S)
        for number, what in enumerate(self._kills, 1):
            due = number * tasks / (len(self._kills) + 1)
            stage.wait(lambda due=due: len(stage.ended()) >= due, NEXT_KILL_S)  # type: ignore[misc]
            self._kill(what)
        stage.finish_sending(producer)

    def unexplained(self) -> list[str]:
        """Return the keys of runs that came after another one of the same task, though nothing had happened to that."""
        runs: dict[str, list[tuple[Line, float | None]]] = {}
        ends = {(line.key, line.pid): line.at for line in self._stage.journal.of(END)}
        for line in self._stage.journal.of(START):
            runs.setdefault(line.key, []).append((line, ends.get((line.key, line.pid))))
        return [
            key
            for key, ran in runs.items()
            for (line, ended_at), (later, _) in itertools.pairwise(ran)
            if not any(fault.explains(line, ended_at) and later.at >= fault.at for fault in self.faults)
        ]

    # -- killing ------------------------------------------------------------------------------------------------------

    def _kill(self, what: str) -> None:
        if what == BROKER:
            self._kill_broker()
            return
        if what in (CORE, TREE):
            self._kill_worker(self._stage.random.choice(self._workers), what)
            return
        self._stage.wait(self._at_work, START_DEADLINE_S)
        if at_work := self._at_work():
            self._kill_part(self._stage.random.choice(at_work), what)

    def _kill_part(self, worker: Worker, what: str) -> None:
        """Kill an executor, or the fork server with all of them."""
        executors = self._executors(worker)
        victims = executors if what == EXECUTOR else self._fork_servers(worker)
        if not executors or not victims:
            return  # it has just ended by itself
        victim = self._stage.random.choice(victims)
        hit = [victim.pid] if what == EXECUTOR else [process.pid for process in executors]
        began = {line.pid for line in self._stage.journal.of(START)} - self._dead
        at = time.time()
        with contextlib.suppress(psutil.NoSuchProcess):
            victim.kill()
        wait_dead([victim, *executors] if what == SERVER else [victim])
        self._hit(what, hit, at)
        self._stage.in_flight += len(began.intersection(hit))  # each runs one task at a time

    def _kill_worker(self, worker: Worker, what: str) -> None:
        executors = self._executors(worker)
        with self._standing_still():
            pids = self._pids.get(worker.name, set())
            at = time.time()
            self._stage.in_flight += self._unsettled(pids)
            worker.process.kill()
        if what == TREE:
            worker.kill()
        worker.process.wait()
        wait_dead(executors)
        self._hit(what, pids or {0}, at)
        self._workers.remove(worker)
        self._workers.append(self._stage.start_worker(ready=False))

    def _kill_broker(self) -> None:
        server = self._stage.place.server
        assert server is not None
        everyone = {pid for worker in self._workers for pid in self._executor_pids(worker)}
        with self._standing_still():
            self._stage.in_flight += self._unsettled(everyone)
            server.kill()
            at = time.time()
        server.start()
        fault = Fault(BROKER, (), at, time.time())
        self.faults.append(fault)
        self._stage.say(f"{at:.3f}-{fault.until:.3f} broker")
        begun = [line for line in self._stage.journal.of(START) if at <= line.at <= fault.until]
        self._stage.in_flight += len(begun)

    def _hit(self, what: str, pids: Collection[int], at: float) -> None:
        self.faults.append(Fault(what, set(pids), at, time.time()))
        self._dead.update(pids)
        self._stage.say(f"{at:.3f}-{time.time():.3f} {what} {sorted(pids)}")

    # -- looking ------------------------------------------------------------------------------------------------------

    def _at_work(self) -> list[Worker]:
        """Return the workers that have executors; others are just starting."""
        return [worker for worker in self._workers if worker.executors()]

    def _executors(self, worker: Worker) -> list[psutil.Process]:
        executors: list[psutil.Process] = worker.executors()
        self._pids.setdefault(worker.name, set()).update(process.pid for process in executors)
        return executors

    def _fork_servers(self, worker: Worker) -> list[psutil.Process]:
        with contextlib.suppress(psutil.NoSuchProcess):
            return list(worker.main.children())
        return []

    def _executor_pids(self, worker: Worker) -> set[int]:
        self._executors(worker)
        return self._pids[worker.name]

    def _unsettled(self, pids: Collection[int]) -> int:
        """Count the tasks that these executors run, or have ended just now and that the broker still has; while all stand still."""
        journal, held, now = self._stage.journal, self._stage.held(), time.time()
        last: dict[tuple[str, int], Line] = {}
        for line in journal.lines:
            if line.event in (START, END) and line.pid in pids:
                last[line.key, line.pid] = line
        running = sum(line.event == START and line.pid not in self._dead for line in last.values())
        just_ended = sum(line.event == END and now - line.at < SETTLED_S for line in last.values())
        ended_and_held = held - len(self._stage.accepted() - self._stage.ended())
        return running + min(just_ended, max(0, ended_and_held))

    @contextlib.contextmanager
    def _standing_still(self) -> Iterator[None]:
        """Stop every worker's clock, so that what is counted is what is killed."""
        for worker in self._workers:
            worker.freeze()
        try:
            yield
        finally:
            for worker in self._workers:
                worker.thaw()


def draw(stage: Stage, kills: int) -> list[str]:
    """Return what is killed, one after the other: so many of each kind, in an order that the seed decides."""
    brokers = round(BROKER_KILLS[stage.place.name] * kills / KILLS + 0.4)
    workers = round(kills * WORKER_PART)
    servers = round(kills * SERVER_PART)
    drawn = [BROKER] * (brokers if stage.place.server else 0)
    drawn += [TREE if number % 2 else CORE for number in range(workers)] + [SERVER] * servers
    drawn += [EXECUTOR] * (kills - len(drawn))
    stage.random.shuffle(drawn)
    return drawn


def kill_storm(stage: Stage) -> Sequence[Check]:
    """Kill one thing after the other while tasks are sent and worked on; whoever is killed is replaced."""
    stage.settings["task_crash_limit"] = CRASH_LIMIT
    storm = Storm(stage, draw(stage, stage.scaled(KILLS)))
    storm.rage(stage.scaled(TASKS))
    stage.say("the storm is over")
    stage.wait_done(WORK_OFF_S)
    stage.wait(stage.drained, SETTLE_DEADLINE_S)
    unexplained = storm.unexplained()
    kinds = Counter(fault.what for fault in storm.faults)
    said = ", ".join(f"{count} {what}" for what, count in sorted(kinds.items()))
    return [
        Check(f"killed: {said}", bool(kinds)),
        Check(
            f"{len(unexplained)} run again that nothing had hit {' '.join(unexplained[:5])}".rstrip(), not unexplained
        ),
    ]


SCENARIOS = (
    Scenario(
        "kill-storm",
        "4,000 tasks, 100 kills of workers, executors and the broker at random",
        "0 lost, 0 stuck, only what was in flight runs again (random kills are no poison: task_crash_limit is 30)",
        (REDIS, RABBITMQ, SQLITE),
        kill_storm,
        may_refuse=True,
        in_tests=(REDIS,),
    ),
)
