"""The stage of a scenario: one place, one system, its workers and producers, and the journal."""

from __future__ import annotations

import contextlib
import json
import os
import random
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from celeriac.torture.journal import END, START, Journal, record
from celeriac.torture.orders import (
    ACCEPTED,
    BACKEND_VARIABLE,
    BROKER_VARIABLE,
    JOURNAL_VARIABLE,
    SETTINGS_VARIABLE,
    Order,
)
from celeriac.torture.places import Place
from celeriac.torture.processes import Producer, Worker
from celeriac.torture.servers.service import Reaper, ServiceError, wait_until
from celeriac.torture.systems.system import System
from celeriac.torture.tally import Tally, count, running

LOOK_S = 0.05
T = TypeVar("T")


class Stage:
    """Duties: 1. start workers and producers, and end them all; 2. tell from the journal how far things are; 3. note faults, and
    what they interrupted; 4. count.

    `scale` is the part of a scenario's tasks and faults that is wanted: 1 for a real run, less for a short one.
    """

    def __init__(
        self, place: Place, system: System, directory: Path, seed: int, scale: float, say: Callable[[str], object]
    ) -> None:
        self.place = place
        self.system = system
        self.directory = directory
        self.random = random.Random(seed)
        self.scale = scale
        self.say = say
        """Tells a person what is done now."""
        self.settings: dict[str, Any] = dict(place.settings)
        """Of workers and producers; only what a scenario is about."""
        self.broker_url = place.broker_url
        """How workers and producers reach the broker; a scenario may put something between."""
        self.backend_url = place.backend_url
        self.environment: dict[str, str] = {}
        """More variables for the processes that are started from now on."""
        self.before: Sequence[str] = ()
        """Goes before the command line of the processes that are started from now on: to have them elsewhere in the network."""
        self.not_to_end: set[str] = set()
        """Tasks that are not meant to come to their end; they are not counted."""
        self.workers: list[Worker] = []
        self.schedulers: list[Worker] = []
        self.in_flight = 0
        self.recovery_s: float | None = None
        self._journal_file = directory / "journal"
        self.journal = Journal(self._journal_file, "")
        self._producers: list[Producer] = []
        self._idle: list[Producer] = []
        self._keys = 0
        self._reaper = Reaper(directory)
        self._entered = contextlib.ExitStack()

    # -- doing --------------------------------------------------------------------------------------------------------

    def scaled(self, full: int, least: int = 1) -> int:
        """Return how many tasks or faults there are to be at this scale."""
        return max(least, round(full * self.scale))

    def start_worker(self, concurrency: int = 2, *options: str, ready: bool = True) -> Worker:
        """Start a worker, and by default wait until it claims messages."""
        name = f"w{len(self.workers) + 1}"
        environment = self._environment(self.settings)
        command = [*self.before, *self.system.worker_command(name, concurrency, options)]
        worker = Worker(self.system, name, command, environment, self.directory / f"{name}.log")
        self.workers.append(worker)
        self._reaper.watch([worker.process])
        if ready:
            worker.wait_ready()
        return worker

    def start_scheduler(self, command: Sequence[str]) -> Worker:
        """Start a scheduler, and do not wait."""
        name = f"b{len(self.schedulers) + 1}"
        environment = self._environment(self.settings)
        scheduler = Worker(self.system, name, [*self.before, *command], environment, self.directory / f"{name}.log")
        self.schedulers.append(scheduler)
        self._reaper.watch([scheduler.process])
        return scheduler

    def enter(self, context: contextlib.AbstractContextManager[T]) -> T:
        """Enter a context that is left when all processes of the stage have been ended."""
        return self._entered.enter_context(context)

    def keys(self, how_many: int) -> list[str]:
        """Return new names for tasks."""
        first, self._keys = self._keys, self._keys + how_many
        return [f"t{number}" for number in range(first, self._keys)]

    def send(self, how_many: int, seconds: float = 0.02, task: str = "work", **more: Any) -> list[str]:
        """Send tasks, and return their keys when every send has returned or raised; `more` as in `Order`."""
        keys, producer = self.begin_sending(how_many, seconds, task, **more)
        self.finish_sending(producer)
        return keys

    def begin_sending(
        self, how_many: int, seconds: float = 0.02, task: str = "work", **more: Any
    ) -> tuple[list[str], Producer]:
        """Have tasks sent meanwhile."""
        keys = self.keys(how_many)
        producer = self._idle.pop() if self._idle else self._new_producer()
        producer.begin(Order(keys, task, seconds, **more))
        return keys, producer

    def note(self, event: str, *keys: str) -> None:
        """Write into the journal what a scenario has done itself, as producers do: that it has sent tasks."""
        for key in keys:
            record(str(self._journal_file), event, key)

    def finish_sending(self, producer: Producer) -> None:
        """Wait until all is sent or refused."""
        producer.finish()
        self._idle.append(producer)

    def close(self) -> None:
        """End everything that runs. Idempotent."""
        for producer in self._producers:
            producer.close()
        for worker in (*self.schedulers, *self.workers):
            worker.kill()
        self._entered.close()
        self._reaper.close()

    # -- seeing -------------------------------------------------------------------------------------------------------

    def wait(self, condition: Callable[[], object], deadline_s: float) -> float | None:
        """Wait for a condition and return after how many seconds it held; None: not within the deadline, which is a finding."""
        began = time.monotonic()
        with contextlib.suppress(ServiceError):
            wait_until(condition, "it holds", deadline_s=deadline_s, every_s=LOOK_S)
            return time.monotonic() - began
        return None

    def accepted(self) -> set[str]:
        """Return the keys whose sends returned."""
        return {line.key for line in self.journal.of(ACCEPTED)}

    def ended(self) -> set[str]:
        """Return the keys that came to their end."""
        return {line.key for line in self.journal.of(END)}

    def begun(self) -> set[str]:
        """Return the keys that have begun."""
        return {line.key for line in self.journal.of(START)}

    def wait_done(self, deadline_s: float, but: Collection[str] = ()) -> float | None:
        """Wait until every accepted task has come to its end, all `but` these, and return how long that took; None: it did not."""
        return self.wait(lambda: not (self.accepted() - self.ended()).difference(but, self.not_to_end), deadline_s)

    def wait_over(self, deadline_s: float) -> float | None:
        """As `wait_done`, where the broker may have lost some: wait no longer when it has nothing left."""
        return self.wait(lambda: not self.accepted() - self.ended() or self.drained(), deadline_s)

    def wait_part_done(self, part: float, of: int, deadline_s: float = 60.0) -> None:
        """Wait until a part of so many tasks has come to its end."""
        self.wait(lambda: len(self.ended()) >= part * of, deadline_s)

    def drained(self) -> bool:
        """Tell whether the broker has nothing left."""
        return self.held() == 0

    def held(self) -> int:
        """Count the messages that the broker still has; 0 when it can't be asked."""
        try:
            return self.system.held(self.place)
        except Exception as error:  # it may be broken for good: then everything that is missing counts as lost
            self.say(f"the broker can't be asked: {error}")
            return 0

    # -- faults -------------------------------------------------------------------------------------------------------

    def interrupted(self, *, unsettled: bool = False) -> set[str]:
        """Note that something was broken just now, and return the keys of the runs that were under way.

        `unsettled`: what had come to its end, and was not acknowledged yet, counts as in flight, too, because whoever was to acknowledge
        it is gone, or can't.
        """
        held = self.held() if unsettled else 0
        keys = set(running(self.journal.lines))
        in_flight = len(keys)
        if unsettled:
            settled = len(self.accepted()) - held
            in_flight = max(in_flight, len(self.begun()) - settled)
        self.in_flight += in_flight
        return keys

    def interrupt(self, fault: Callable[[], object]) -> set[str]:
        """Break what carries acknowledgements, and note and return what was in flight: runs under way, and ends not acknowledged yet.

        Counted so that sends which go on meanwhile make it no smaller.
        """
        accepted = len(self.accepted())
        settled = accepted - self.held()
        fault()
        keys = set(running(self.journal.lines))
        self.in_flight += max(len(keys), len(self.begun()) - settled)
        return keys

    def time_recovery(self, since: float, keys: Collection[str] = (), deadline_s: float = 60.0) -> float | None:
        """Return the seconds from `since` (Unix) until all these keys have begun once more, or, without keys, anything has; None: not in time.

        The longest of a scenario is what its tally tells.
        """

        def again() -> set[str]:
            return {line.key for line in self.journal.of(START) if line.at > since}

        if self.wait(lambda: again() >= set(keys) if keys else again(), deadline_s) is None:
            return None
        first: dict[str, float] = {}
        for line in self.journal.of(START):
            if line.at > since and (not keys or line.key in keys):
                first.setdefault(line.key, line.at)
        took_s = (max if keys else min)(first.values()) - since
        self.recovery_s = max(took_s, self.recovery_s or 0.0)
        return took_s

    def tally(self, but: Collection[str] = ()) -> Tally:
        """Count what became of everything so far, all `but` these."""
        return count(self.journal.lines, self.held(), self.in_flight, self.recovery_s, {*but, *self.not_to_end})

    # -- inside -------------------------------------------------------------------------------------------------------

    def _new_producer(self) -> Producer:
        number = len(self._producers) + 1
        log = self.directory / f"producer{number}.log"
        producer = Producer(self.system, self._environment(self.settings), log, self.before)
        self._producers.append(producer)
        self._reaper.watch([producer.process])
        producer.wait_ready()
        return producer

    def _environment(self, settings: Mapping[str, Any]) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("CELERIAC_", "CELERY_"))}
        return {
            **inherited,
            BROKER_VARIABLE: self.broker_url,
            BACKEND_VARIABLE: self.backend_url,
            JOURNAL_VARIABLE: str(self._journal_file),
            SETTINGS_VARIABLE: json.dumps(settings),
            **self.environment,
        }
