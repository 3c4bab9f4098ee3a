"""The processes of a system under measurement: its worker, and the driver of its client."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil

from bench.environments import ROOT

ORDER_DEADLINE_S: Final = 900.0
END_DEADLINE_S: Final = 10.0
LOG_END: Final = 3000
"""Characters of a log that an error tells."""


class RunFailed(RuntimeError):
    """A system did not do what it was asked: the message says what, and ends with its log."""


def _start(command: Sequence[str], environment: Mapping[str, str], log: Path, talks: bool) -> subprocess.Popen[bytes]:
    with log.open("ab") as file:
        return subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE if talks else subprocess.DEVNULL,
            stdout=subprocess.PIPE if talks else file,
            stderr=file,
            start_new_session=True,  # Ctrl-C in the terminal is for us, who end it
        )


def _end_of(log: Path) -> str:
    return log.read_text(errors="replace")[-LOG_END:]


class Worker:
    """A worker, of one program or several, with all their children.

    Duties: 1. start it; 2. tell what it uses; 3. leave no process of it behind.
    """

    def __init__(self, commands: Sequence[Sequence[str]], environment: Mapping[str, str], log: Path) -> None:
        self._log = log
        self.leaders = [_start(command, environment, log, talks=False) for command in commands]

    def check_alive(self) -> None:
        """Raise `RunFailed` if one of its programs has ended."""
        for leader in self.leaders:
            if leader.poll() is not None:
                raise RunFailed(f"the worker ended with code {leader.returncode}:\n{_end_of(self._log)}")

    def cpu_s(self) -> float:
        """Seconds of CPU that its processes have used so far, those that have ended, too."""
        used_s = 0.0
        for process in self._family():
            with contextlib.suppress(psutil.Error):
                times = process.cpu_times()
                used_s += times.user + times.system + times.children_user + times.children_system
        return used_s

    def memory_mb(self) -> dict[int, float]:
        """Megabytes of each of its processes, by pid, what they share being shared out among them (PSS)."""
        found = {}
        for process in self._family():
            with contextlib.suppress(psutil.Error):
                found[process.pid] = process.memory_full_info().pss / 1e6
        return found

    def kill(self) -> None:
        """End all its processes. Idempotent."""
        for leader in self.leaders:
            with contextlib.suppress(psutil.Error):
                psutil.Process(leader.pid).suspend()  # so that it makes no new ones
        for process in self._family():
            with contextlib.suppress(psutil.Error):
                process.kill()
        for leader in self.leaders:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(leader.pid, signal.SIGKILL)
            leader.wait(END_DEADLINE_S)

    def _family(self) -> list[psutil.Process]:
        family = []
        for leader in self.leaders:
            with contextlib.suppress(psutil.Error):
                process = psutil.Process(leader.pid)
                family += [process, *process.children(recursive=True)]
        return family


@dataclass(frozen=True)
class Took:
    """What an order took of the driver."""

    seconds: float
    cpu_s: float


class Lacking(Exception):
    """The library has no documented way to do what was asked."""


class Driver:
    """A program of the library's users, in its environment, that does what it is told; see `bench.driver`."""

    def __init__(self, python: str, module: str, environment: Mapping[str, str], log: Path) -> None:
        self._log = log
        self.leader = _start([python, "-m", "bench.driver", module], environment, log, talks=True)

    def wait_ready(self) -> None:
        """Return when it is connected. Raises `RunFailed`."""
        self._answer()

    def order(self, do: str, *arguments: Any) -> Took:
        """Have an order carried out. Blocking; raises `Lacking` and `RunFailed`."""
        assert self.leader.stdin is not None
        self.leader.stdin.write(json.dumps({"do": do, "with": arguments}).encode() + b"\n")
        with contextlib.suppress(BrokenPipeError):  # that it has ended is told as it does not answer
            self.leader.stdin.flush()
        answer = self._answer()
        if "lacks" in answer:
            raise Lacking(answer["lacks"])
        if "error" in answer:
            raise RunFailed(f"the client could not {do}:\n{answer['error']}")
        return Took(**answer)

    def kill(self) -> None:
        """End it. Idempotent."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.leader.pid, signal.SIGKILL)
        self.leader.wait(END_DEADLINE_S)
        for pipe in (self.leader.stdin, self.leader.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()

    def _answer(self) -> dict[str, Any]:
        assert self.leader.stdout is not None
        # It says one line at a time, so nothing of the next is in our buffer.
        if not select.select([self.leader.stdout], [], [], ORDER_DEADLINE_S)[0]:
            raise RunFailed(f"the client has not answered for {ORDER_DEADLINE_S:g} s:\n{_end_of(self._log)}")
        line = self.leader.stdout.readline()
        if not line:
            raise RunFailed(f"the client ended:\n{_end_of(self._log)}")
        answer: dict[str, Any] = json.loads(line)
        return answer
