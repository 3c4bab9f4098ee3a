"""Processes under torture: workers and producers, and what operators and accidents do to them."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import psutil

from celeriac.torture.orders import Order
from celeriac.torture.producer import DONE, READY
from celeriac.torture.servers.service import ServiceError, wait_until
from celeriac.torture.systems.system import System

DEADLINE_S = 60.0
"""For what is to be there in a second: starting, ending."""
PRODUCER_DEADLINE_S = 300.0
"""For a whole order: one that takes longer hangs."""


def is_dead(process: psutil.Process) -> bool:
    """Tell whether a process runs no more; one that nobody has asked for its exit code is as dead as any."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    return True


def wait_dead(processes: Sequence[psutil.Process]) -> None:
    """Return when they are dead that were killed."""
    wait_until(lambda: all(map(is_dead, processes)), "what was killed is dead", deadline_s=DEADLINE_S, every_s=0.005)


class Worker:
    """A worker, with all its processes.

    Duties: 1. start it, and tell when it is ready; 2. harm it; 3. tell of its processes and its end; 4. leave no process behind.
    """

    def __init__(
        self,
        system: System,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        log: Path,
    ) -> None:
        self.name = name
        self._system = system
        self._log = log
        with log.open("wb") as file:
            self.process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
        self.main = psutil.Process(self.process.pid)

    @property
    def log(self) -> str:
        """What it has written so far."""
        return self._log.read_text(errors="replace")

    @property
    def running(self) -> bool:
        """Whether its main process is alive, frozen or not."""
        return self.process.poll() is None

    def wait_ready(self) -> None:
        """Return when it claims messages. Raises `ServiceError` with its last words when it ends before."""

        def is_ready() -> bool:
            if not self.running:
                raise ServiceError(f"worker {self.name} ended with code {self.process.returncode}:\n{self.log[-3000:]}")
            return self._system.is_ready(self.log)

        wait_until(is_ready, f"worker {self.name} is ready", deadline_s=DEADLINE_S)

    def family(self) -> list[psutil.Process]:
        """Return all its living processes, the main one first."""
        with contextlib.suppress(psutil.NoSuchProcess):
            return [self.main, *self.main.children(recursive=True)]
        return []

    def executors(self) -> list[psutil.Process]:
        """Return the processes that run its tasks."""
        with contextlib.suppress(psutil.NoSuchProcess):
            return self._system.executors(self.main)
        return []

    def kill(self) -> None:
        """Kill the whole tree with SIGKILL, as the kernel or an orchestrator does. Idempotent."""
        family = self.family()
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(DEADLINE_S)
        wait_dead(family)

    def freeze(self) -> None:
        """Stop the clock of every process of it (SIGSTOP)."""
        for process in self.family():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.suspend()

    def thaw(self) -> None:
        """Let it go on, and what is left of it when its main process is dead: then nobody else would."""
        for process in self.family():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGCONT)

    def terminate(self) -> None:
        """Ask it to stop (SIGTERM), and do not wait."""
        self.process.send_signal(signal.SIGTERM)

    def wait(self, deadline_s: float) -> int | None:
        """Wait until it has ended and return its exit code; None when it has not within the deadline."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.process.wait(deadline_s)
        return None

    def memory_bytes(self) -> dict[int, int]:
        """Return the unique memory of each of its processes, by pid."""
        found = {}
        for process in self.family():
            with contextlib.suppress(psutil.Error):
                found[process.pid] = process.memory_full_info().uss
        return found


class Producer:
    """A process that sends: one order after the other."""

    def __init__(self, system: System, environment: Mapping[str, str], log: Path, before: Sequence[str] = ()) -> None:
        """`before` goes before its command line."""
        with log.open("wb") as file:
            self.process = subprocess.Popen(
                [*before, system.python, "-m", "celeriac.torture.producer", system.program],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                start_new_session=True,
            )
        self._log = log

    def wait_ready(self) -> None:
        """Return when it takes orders. Raises `ServiceError` when it does not in time."""
        self._await(READY)

    def begin(self, order: Order) -> None:
        """Have an order carried out, and do not wait."""
        assert self.process.stdin is not None
        self.process.stdin.write(msgspec.json.encode(order) + b"\n")
        self.process.stdin.flush()

    def finish(self) -> None:
        """Wait until the order is carried out that was begun."""
        self._await(DONE)

    def close(self) -> None:
        """End it, whatever it does. Idempotent."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()

    def _await(self, word: str) -> None:
        assert self.process.stdout is not None
        # It says one word at a time, so nothing of it is in our own buffer.
        if not select.select([self.process.stdout], [], [], PRODUCER_DEADLINE_S)[0]:
            raise ServiceError(f"the producer hangs: it has not said {word!r} for {PRODUCER_DEADLINE_S:g} s")
        if (said := self.process.stdout.readline().decode().strip()) != word:
            raise ServiceError(
                f"the producer said {said!r}, not {word!r}:\n{self._log.read_text(errors='replace')[-3000:]}"
            )
