"""How each library's worker is started: one function for each, from its interpreter and a shape to command lines."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from bench.place import QUEUE
from bench.shape import Shape

Command = list[str]
Options = Mapping[str, Any]
Make = Callable[[str, Shape, Options], Sequence[Command]]
"""Interpreter, shape, the options of a variant -> the command lines of one worker."""

DRAMATIQ_THREADS: Final = 8
"""Dramatiq's default; the same for others that work in threads."""


def celeriac(python: str, shape: Shape, _options: Options) -> Sequence[Command]:
    """One worker, which has its executors."""
    command = [python, "-m", "celeriac", "-A", "bench.systems.celeriac", "worker", "-Q", QUEUE, "-l", "WARNING"]
    match shape.kind:
        case "thread":
            return [[*command, "-c", "0", "--threads", str(shape.slots)]]
        case "async":
            return [[*command, "-c", "0", "--async", str(shape.slots)]]
    return [[*command, "-c", str(shape.processes)]]


def celery(python: str, shape: Shape, options: Options) -> Sequence[Command]:
    """One worker with its processes, or several workers where a pool has none; without what only makes the start slow."""
    command = [python, "-m", "celery", "-A", "bench.systems.celery", "worker", "-Q", QUEUE, "-l", "WARNING"]
    command += ["--without-mingle", "--without-gossip", "--without-heartbeat"]
    match options["pool"]:
        case "prefork":
            return [[*command, "-P", "prefork", "-c", str(shape.processes)]]
        case "threads":
            threads = shape.slots or DRAMATIQ_THREADS
            return [[*command, "-P", "threads", "-c", str(threads), "-n", f"{n}@bench"] for n in range(shape.processes)]
    return [[*command, "-P", "solo", "-n", f"{n}@bench"] for n in range(shape.processes)]


def dramatiq(python: str, shape: Shape, _options: Options) -> Sequence[Command]:
    """Processes with threads."""
    threads = shape.slots or DRAMATIQ_THREADS
    return [
        [python, "-m", "dramatiq", "bench.systems.dramatiq", "-p", str(shape.processes), "-t", str(threads)]
        + ["-Q", QUEUE]
    ]


def bare_redis(python: str, shape: Shape, _options: Options) -> Sequence[Command]:
    """A program for each process."""
    return [[python, "-m", "bench.bare.redis"]] * shape.processes


def bare_rabbitmq(python: str, shape: Shape, _options: Options) -> Sequence[Command]:
    """A program for each process."""
    return [[python, "-m", "bench.bare.rabbitmq"]] * shape.processes
