"""What the other task queues have in common: a Python of their own, whose worker is a process with executors for children."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Collection, Sequence
from functools import cache
from typing import Any, Final, cast

import psutil

from celeriac.torture.orders import QUEUE
from celeriac.torture.places import Place
from celeriac.torture.servers.rabbit import PrivateRabbit
from celeriac.torture.servers.redis_call import redis_call

PYTHON_VARIABLE: Final = "CELERIAC_TORTURE_PYTHON"
"""Names the Python in which the others are installed, with Celeriac beside them; without it they are looked for in our own."""
LOOK_DEADLINE_S: Final = 60.0


def peers_python() -> str:
    """Return the interpreter that runs the programs of other task queues."""
    return os.environ.get(PYTHON_VARIABLE) or sys.executable


class Peer:
    """A task queue that is not ours, as far as they are all alike."""

    name: str
    title: str
    places: Collection[str]
    program: str
    packages: Collection[str]
    """What is to be installed: names for pip."""
    modules: Collection[str]
    """Their modules, which the programs import."""
    lacks: Collection[str] = ()

    @property
    def python(self) -> str:
        """Return the interpreter of its programs."""
        return peers_python()

    def executors(self, worker: psutil.Process) -> list[psutil.Process]:
        """Return the worker's children, but for what Python's multiprocessing needs for itself."""
        return [child for child in worker.children() if not _is_helper(child)]

    def missing(self) -> str | None:
        """Name what has to be installed, and where."""
        missing = _missing_modules(self.python, (*self.modules, "celeriac.torture.producer"))
        if missing:
            return (
                f"{', '.join(missing)} (in {self.python}: `pip install celeriac {' '.join(self.packages)}` into an environment, "
                f"and name its Python in {PYTHON_VARIABLE})"
            )
        return None


@cache
def _missing_modules(python: str, modules: Sequence[str]) -> list[str]:
    look = "import importlib, sys\nfor name in sys.argv[1:]:\n try: importlib.import_module(name)\n except ImportError: print(name)"
    try:
        done = subprocess.run(
            [python, "-c", look, *modules], capture_output=True, text=True, timeout=LOOK_DEADLINE_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return [f"a Python ({error})"]
    return done.stdout.split() if done.returncode == 0 else [f"a Python that runs ({done.stderr.strip()[-200:]})"]


def _is_helper(process: psutil.Process) -> bool:
    try:
        return any("resource_tracker" in word or "semaphore_tracker" in word for word in process.cmdline())
    except psutil.Error:
        return True  # it has just ended


def ask_redis(place: Place, *words: str) -> Any:
    """Send one command to the place's broker."""
    return redis_call(place.redis.port, *words)


def count_redis(place: Place, *commands: Sequence[str]) -> int:
    """Return the sum of what counting commands answer."""
    return sum(cast(int, ask_redis(place, *command)) for command in commands)


def count_rabbit(rabbit: PrivateRabbit, queue: str = QUEUE, without: Collection[str] = ()) -> int:
    """Count the messages of all queues of a RabbitMQ, those of `queue` in this moment, those of other quorum queues some seconds ago."""
    lengths = rabbit.queue_lengths("/")
    lengths[queue] = rabbit.unsettled("/", queue)
    return sum(count for name, count in lengths.items() if name not in without)
