"""The options of `celeriac worker`, by what they are about."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

from celeriac.cli.health import PLACE
from celeriac.cli.params import AUTOSCALE, COUNT, NAMES, POSITIVE, SECONDS, UMASK

LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
POOLS: Final = ("prefork", "processes", "threads", "asyncio", "solo")

Command = TypeVar("Command", bound=Callable[..., Any])
Option = Callable[[Command], Command]

WORK: Final = (
    click.option(
        "-n", "--hostname", metavar="NAME", help="Node name; %h is the host, %n its first part, %d its domain."
    ),
    click.option(
        "-Q",
        "--queues",
        type=NAMES,
        help="Queues to work on, with commas; 'name:2' runs at most 2 of its tasks at once.  [default: all of task_queues]",
    ),
    click.option("-X", "--exclude-queues", type=NAMES, help="Queues not to work on, with commas."),
    click.option("-I", "--include", type=NAMES, help="More modules to import, with commas."),
    click.option(
        "--purge", "--discard", is_flag=True, help="Delete first what waits in these queues. It can't be undone."
    ),
)
EXECUTORS: Final = (
    click.option(
        "-c", "--concurrency", type=COUNT, help="Processes, one task at a time each.  [default: one per processor]"
    ),
    click.option(
        "--autoscale",
        type=AUTOSCALE,
        metavar="MAX,MIN",
        help="As many processes as there is work for, between these two.",
    ),
    click.option("--threads", type=COUNT, help="Slots for tasks with executor='thread'."),
    click.option("--async", "async_concurrency", type=COUNT, help="Slots for `async def` tasks."),
    click.option(
        "-P",
        "--pool",
        metavar="KIND",
        help=f"Run all tasks in one kind of executor: {', '.join(POOLS)}; -c is its size.",
    ),
    click.option("--prefetch", type=COUNT, metavar="N", help="Most short tasks an executor is given ahead; 0: none."),
    click.option("--prefetch-multiplier", type=COUNT, metavar="N", help="The setting worker_prefetch_multiplier."),
    click.option("--disable-prefetch", is_flag=True, default=None, help="Take nothing ahead of free slots."),
    click.option("--max-tasks-per-child", type=POSITIVE, metavar="N", help="Renew a process after N tasks."),
    click.option("--max-memory-per-child", type=POSITIVE, metavar="KIB", help="Renew a process that has grown so big."),
)
LIMITS: Final = (
    click.option(
        "--time-limit", type=SECONDS, metavar="S", help="Hard time limit of tasks that have none of their own."
    ),
    click.option("--soft-time-limit", type=SECONDS, metavar="S", help="Soft time limit, likewise."),
    click.option(
        "--grace", "grace_s", type=SECONDS, metavar="S", help="How long a stopping worker waits for running tasks."
    ),
    click.option(
        "--wait-for-broker",
        "wait_s",
        type=SECONDS,
        metavar="S",
        default=10.0,
        show_default=True,
        help="Try so long to reach broker and results.",
    ),
)
LOG: Final = (
    click.option(
        "-l", "--loglevel", type=click.Choice(LEVELS, case_sensitive=False), default="INFO", show_default=True
    ),
    click.option(
        "-f",
        "--logfile",
        metavar="FILE",
        help="Log to a file; %n is the node, %h its host, %i or %I the executor's index.",
    ),
    click.option("--log-json", is_flag=True, help="Log one JSON object a line."),
)
TOLD: Final = (
    click.option("-E", "--task-events", is_flag=True, help="Send events of tasks, for monitors."),
    click.option(
        "--heartbeat-interval",
        type=SECONDS,
        metavar="S",
        help="Seconds between two events that say that the worker lives; 0: none.",
    ),
    click.option("--without-heartbeat", is_flag=True, help="Send no such events."),
    click.option("--without-mingle", is_flag=True, help="Do not ask other workers at the start what is revoked."),
)
SCHEDULE: Final = (
    click.option("-B", "--beat", is_flag=True, help="Run a scheduler, too; any number of workers may."),
    click.option(
        "-s",
        "--schedule",
        "--schedule-filename",
        "schedule_filename",
        is_flag=False,
        flag_value="",
        metavar="[FILE]",
        help="As --beat; FILE is where ticks are remembered if there is no better place.",
    ),
    click.option("--scheduler", metavar="CLASS", help="Class of the scheduler, or: django."),
)
OPERATION: Final = (
    click.option(
        "--pidfile", metavar="FILE", help="Keep the process number here, and start only where none runs; %n as above."
    ),
    click.option("-D", "--detach", is_flag=True, help="Go on in the background, once the worker is ready."),
    click.option("--uid", metavar="USER", help="Become this user first; root only."),
    click.option("--gid", metavar="GROUP", help="Become this group first; root only."),
    click.option("--umask", type=UMASK, metavar="OCTAL", help="Rights that new files do not get, as 022."),
    click.option(
        "--health-port",
        type=PLACE,
        metavar="[HOST:]PORT",
        help="Answer /livez and /readyz here.  [default host: 127.0.0.1]",
    ),
    click.option(
        "--heartbeat-file", metavar="FILE", help="Write this file again and again while the worker lives; %n as above."
    ),
    click.option("--reload", is_flag=True, help="Start anew when a Python file changes; for development."),
    click.option(
        "--allow-embedded",
        is_flag=True,
        envvar="CELERIAC_ALLOW_EMBEDDED",
        help="Use the embedded broker even with CELERIAC_ENV=production.  [env: CELERIAC_ALLOW_EMBEDDED]",
    ),
)
MADE_FOR_THE_OTHER: Final = ("without_gossip", "optimization", "executable", "statedb")
"""Celery's options for machinery that is not there: accepted, so that its command lines go on working."""
IGNORED: Final = (
    click.option("--without-gossip", is_flag=True, hidden=True),
    click.option("-O", "--optimization", hidden=True),
    click.option("--executable", hidden=True),
    click.option("-S", "--statedb", hidden=True),
)


def worker_options(command: Command) -> Command:
    """Add all of them."""
    for option in reversed((*WORK, *EXECUTORS, *LIMITS, *TOLD, *SCHEDULE, *LOG, *OPERATION, *IGNORED)):
        command = option(command)
    return command
