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
AT_ONCE: Final = 100
"""Messages that are taken ahead, where a library has a choice."""


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
    command = [python, "-m", "dramatiq", "bench.systems.dramatiq", "-Q", QUEUE]
    return [[*command, "-p", str(shape.processes), "-t", str(threads)]]


def taskiq(python: str, shape: Shape, options: Options) -> Sequence[Command]:
    """Processes with an event loop each; for delays on Redis a scheduler beside them."""
    command = [python, "-m", "taskiq", "worker", "bench.systems.taskiq:broker", "-w", str(shape.processes)]
    command += ["--log-level", "ERROR", "--no-parse"]
    if shape.slots:
        command += ["--max-async-tasks", str(shape.slots), "--max-threadpool-threads", str(shape.slots)]
    if shape.kind == "later" and options["broker"] != "amqp":
        scheduler = [python, "-m", "taskiq", "scheduler", "bench.systems.taskiq:scheduler", "--log-level", "ERROR"]
        return [command, [*scheduler, "--update-interval", "1", "--loop-interval", "1"]]
    return [command]


def huey(python: str, shape: Shape, options: Options) -> Sequence[Command]:
    """Processes of one consumer; or a consumer for each process, with threads."""
    command = [python, "-m", "huey.bin.huey_consumer", "bench.systems.huey.app", "-q"]
    if options["worker"] == "process":
        return [[*command, "-k", "process", "-w", str(shape.processes)]]
    threads = shape.slots or DRAMATIQ_THREADS
    return [[*command, "-k", "thread", "-w", str(threads)]] * shape.processes


def rq(python: str, shape: Shape, options: Options) -> Sequence[Command]:
    """A worker for each process, one of which keeps the time where something is delayed."""
    # The broker's URL stands in the module: RQ left alone would go to whatever listens on Redis's usual port.
    command = [python, "-m", "rq.cli", "worker", QUEUE, "--config", "bench.systems.rq", "--quiet"]
    command += ["--worker-class", options["worker"]]
    keeper = ["--with-scheduler"] if shape.kind == "later" else []
    return [[*command, *keeper], *([command] * (shape.processes - 1))]


def saq(python: str, shape: Shape, _options: Options) -> Sequence[Command]:
    """Processes with an event loop each."""
    return [[python, "-m", "saq", "bench.systems.saq.settings", "--workers", str(shape.processes)]]


def streaq(python: str, shape: Shape, _options: Options) -> Sequence[Command]:
    """Processes with an event loop each."""
    return [[python, "-m", "streaq", "run", "bench.systems.streaq:worker", "-w", str(shape.processes)]]


def arq(python: str, shape: Shape, _options: Options) -> Sequence[Command]:
    """A worker for each process."""
    return [[python, "-m", "arq", "bench.systems.arq.WorkerSettings"]] * shape.processes


def repid(python: str, shape: Shape, _options: Options) -> Sequence[Command]:
    """A program for each process."""
    return [[python, "-m", "bench.systems.repid"]] * shape.processes


def bare_redis(python: str, shape: Shape, _options: Options) -> Sequence[Command]:
    """A program for each process."""
    return [[python, "-m", "bench.bare.redis"]] * shape.processes


def bare_rabbitmq(python: str, shape: Shape, _options: Options) -> Sequence[Command]:
    """A program for each process."""
    return [[python, "-m", "bench.bare.rabbitmq"]] * shape.processes
