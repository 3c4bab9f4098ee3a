"""`celeriac worker`: run a worker until a signal stops it."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import click

from celeriac.cli.banner import banner_lines
from celeriac.cli.cautions import app_urls, cautions
from celeriac.cli.errors import FAILED, USAGE, CommandError
from celeriac.cli.params import COUNT, NAMES, POSITIVE, SECONDS
from celeriac.cli.target import Target, target_options
from celeriac.client.app import Celeriac
from celeriac.client.conf_cmdline import parse_arguments
from celeriac.core.settings import Settings
from celeriac.core.urls import mask, scheme
from celeriac.exceptions import BackendUnavailable, BrokerUnavailable
from celeriac.worker.logs import configure_logging, log_printed, set_up_logging
from celeriac.worker.spawners import ThreadSpawner
from celeriac.worker.worker import Worker, WorkerOptions, program_worker

logger = logging.getLogger("celeriac.worker")

LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
POOLS: Final = ("prefork", "processes", "threads", "asyncio", "solo")
FOREIGN_POOLS: Final = ("gevent", "eventlet")
MADE_FOR_THE_OTHER: Final = ("without_gossip", "without_mingle", "without_heartbeat", "optimization")
"""Celery's options for machinery that is not there: accepted, so that its command lines go on working."""
RETRY_PAUSE_S: Final = 0.5

EXAMPLES = """\b
Examples:
  celeriac -A shop worker
  celeriac -A shop worker -c 4 -Q default,mail -n mailer@%h
  celeriac -A shop worker -c 2 --threads 20 --async 500
  celeriac -A shop worker --max-tasks-per-child 1000 --time-limit 600
  celeriac -A shop worker -- worker.prefetch_multiplier=1 result_expires=600
\b
Signals:
  TERM, INT   stop: running tasks have the grace time (HUP likewise, but under nohup)
  QUIT        stop sooner: running tasks have worker_soft_shutdown_timeout seconds (default: none)
  any again   one step sooner; what has not ended is given back to its queue
\b
Exit codes:
  0 stopped as asked    1 broker or results cannot be reached    2 wrong options, settings or app
"""


@click.command(epilog=EXAMPLES)
@target_options
@click.option("-n", "--hostname", metavar="NAME", help="Node name; %h is the host, %n its first part.")
@click.option(
    "-Q",
    "--queues",
    type=NAMES,
    help="Queues to work on, with commas; 'name:2' runs at most 2 of its tasks at once.  [default: all of task_queues]",
)
@click.option("-X", "--exclude-queues", type=NAMES, help="Queues not to work on, with commas.")
@click.option(
    "-c", "--concurrency", type=COUNT, help="Processes, one task at a time each.  [default: one per processor]"
)
@click.option("--threads", type=COUNT, help="Slots for tasks with executor='thread'.")
@click.option("--async", "async_concurrency", type=COUNT, help="Slots for `async def` tasks.")
@click.option(
    "-P", "--pool", metavar="KIND", help=f"Run all tasks in one kind of executor: {', '.join(POOLS)}; -c is its size."
)
@click.option("--prefetch", type=COUNT, metavar="N", help="Most short tasks an executor is given ahead; 0: none.")
@click.option("--time-limit", type=SECONDS, metavar="S", help="Hard time limit of tasks that have none of their own.")
@click.option("--soft-time-limit", type=SECONDS, metavar="S", help="Soft time limit, likewise.")
@click.option("--max-tasks-per-child", type=POSITIVE, metavar="N", help="Renew a process after N tasks.")
@click.option("--max-memory-per-child", type=POSITIVE, metavar="KIB", help="Renew a process that has grown so big.")
@click.option(
    "--grace", "grace_s", type=SECONDS, metavar="S", help="How long a stopping worker waits for running tasks."
)
@click.option("-l", "--loglevel", type=click.Choice(LEVELS, case_sensitive=False), default="INFO", show_default=True)
@click.option(
    "-f", "--logfile", metavar="FILE", help="Log to a file; %n is the node, %h its host, %i or %I the executor's index."
)
@click.option("--log-json", is_flag=True, help="Log one JSON object a line.")
@click.option(
    "--wait-for-broker",
    "wait_s",
    type=SECONDS,
    metavar="S",
    default=10.0,
    show_default=True,
    help="Try so long to reach broker and results.",
)
@click.option(
    "--allow-embedded",
    is_flag=True,
    envvar="CELERIAC_ALLOW_EMBEDDED",
    help="Use the embedded broker even with CELERIAC_ENV=production.  [env: CELERIAC_ALLOW_EMBEDDED]",
)
@click.option("--without-gossip", is_flag=True, hidden=True)
@click.option("--without-mingle", is_flag=True, hidden=True)
@click.option("--without-heartbeat", is_flag=True, hidden=True)
@click.option("-O", "--optimization", hidden=True)
@click.argument("more", nargs=-1, metavar="[SETTING=VALUE]...")
@click.pass_context
def worker(
    ctx: click.Context,
    /,
    *,
    pool: str | None,
    loglevel: str,
    logfile: str | None,
    log_json: bool,
    wait_s: float,
    allow_embedded: bool,
    **given: Any,
) -> None:
    """Run tasks until a signal stops it."""
    target = ctx.ensure_object(Target)
    kind = _pool_kind(pool)
    level = logging.getLevelNamesMapping()[loglevel]
    configure_logging(level, as_json=log_json)
    app = target.app("whose tasks the worker is to run")
    changes = {**parse_arguments(given["more"]), **_changed_settings(given, app.settings)}
    if log_json:
        changes["worker_log_json"] = True
    app.conf.override(changes)
    if kind is None and app.conf.value_set_for("worker_pool"):
        kind = _pool_kind(app.settings.worker_pool)
    if kind in ("threads", "asyncio") and given["concurrency"] is None:
        given["concurrency"] = app.settings.worker_concurrency
    embedded = scheme(app.locations.broker) == "sqlite"
    if embedded and not allow_embedded and os.environ.get("CELERIAC_ENV") == "production":
        raise CommandError(
            f"{app.broker.shown_url()} is the embedded broker, for development and one machine only, and"
            " CELERIAC_ENV=production; use Redis or RabbitMQ, or give --allow-embedded if you mean it",
            USAGE,
        )
    made = _make_worker(app, target, kind, _worker_options(kind, given), level, log_json, changes, logfile)
    try:
        logs_itself = set_up_logging(app, level, logfile, made.hostname)
    except OSError as error:
        raise CommandError(f"the log file {logfile} can't be written: {error}", USAGE) from None
    for option in MADE_FOR_THE_OTHER:
        if given[option]:
            logger.info("--%s has no meaning here and is ignored", option.replace("_", "-"))
    _announce(made, log_json=app.settings.worker_log_json)
    if embedded:
        logger.warning(
            "the embedded broker is for development, and for one machine; use Redis or RabbitMQ in production"
        )
    for name, url in app_urls(app).items():
        for line in cautions(name, url):
            logger.warning("%s", line)
    _reach(app, made.queues, wait_s)
    if not logs_itself:
        log_printed(app)
    try:
        made.run()
    finally:
        app.log.restore_stdouts()
        app.close()
    logger.info("%s has stopped.", made.hostname)


def _pool_kind(pool: str | None) -> str | None:
    if pool in FOREIGN_POOLS:
        raise click.BadOptionUsage(
            "pool",
            f"-P {pool} does not exist here: write such tasks as `async def` and use --async N, or use -P threads -c N",
        )
    if pool is not None and pool not in POOLS:
        raise click.BadOptionUsage("pool", f"-P {pool!r}: there are {', '.join(POOLS)}")
    return pool


def _worker_options(kind: str | None, given: Mapping[str, Any]) -> WorkerOptions:
    """Return the options, with Celery's -P and -c turned into sizes of our executors."""
    concurrency, threads, coroutines = given["concurrency"], given["threads"], given["async_concurrency"]
    match kind:
        case "threads":
            # No processes: tasks that name no other kind go to the threads then.
            concurrency, threads = 0, threads or concurrency or os.cpu_count() or 1
        case "asyncio":
            concurrency, coroutines = 0, coroutines or concurrency or 100
        case "solo":
            concurrency = 1
        case _:
            pass
    return WorkerOptions(
        hostname=given["hostname"],
        queues=given["queues"] or (),
        exclude_queues=given["exclude_queues"] or (),
        concurrency=concurrency,
        threads=threads,
        async_concurrency=coroutines,
        grace_s=given["grace_s"],
    )


def _changed_settings(given: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """Return the settings that options override, for this process and for the executors."""
    names = {
        "time_limit": "task_time_limit",
        "soft_time_limit": "task_soft_time_limit",
        "max_tasks_per_child": "worker_max_tasks_per_child",
        "max_memory_per_child": "worker_max_memory_per_child",
        "prefetch": "worker_prefetch_max",
    }
    changes = {setting: given[option] for option, setting in names.items() if given[option] is not None}
    hard, soft = changes.get("task_time_limit"), settings.task_soft_time_limit
    if hard is not None and soft is not None and soft >= hard:
        # It would never be reached: unless another one is asked for, the hard limit alone holds.
        changes.setdefault("task_soft_time_limit", None)
    return changes


def _make_worker(
    app: Celeriac,
    target: Target,
    kind: str | None,
    options: WorkerOptions,
    level: int,
    log_json: bool,
    changes: Mapping[str, Any],
    logfile: str | None,
) -> Worker:
    assert target.app_spec is not None
    if kind == "solo" and app.broker.durable:
        return Worker(app, options, lambda hostname: ThreadSpawner(app, hostname), _ready)
    return program_worker(
        app,
        options,
        app_spec=target.app_spec,
        workdir=os.getcwd(),
        loglevel=level,
        log_json=log_json,
        settings=changes,
        logfile=logfile,
        on_ready=_ready,
    )


def _ready(worker: Worker) -> None:
    # Celery's words: process managers and scripts wait for them.
    logger.info("%s ready.", worker.hostname)


def _announce(worker: Worker, *, log_json: bool) -> None:
    lines = banner_lines(worker)
    if log_json:
        for line in lines:
            logger.info("%s", line)
    else:
        click.echo("\n".join(["", click.style(lines[0], bold=True), *lines[1:], ""]))


def _reach(app: Celeriac, queues: tuple[str, ...], wait_s: float) -> None:
    """Return when broker and result backend answer, and the queues exist.

    What can't pass by itself, such as a wrong password, is an error at once.
    """
    deadline = time.monotonic() + wait_s
    _until("broker", lambda: _declare(app, queues), deadline, wait_s)
    if app.backend.stores:
        # Looked at now: a worker that can't store results would take messages and never be done with them.
        _until("result backend", lambda: _fetch_nothing(app), deadline, wait_s)


def _declare(app: Celeriac, queues: tuple[str, ...]) -> None:
    admin = app.broker.admin()
    try:
        admin.declare(queues)
    finally:
        admin.close()


def _fetch_nothing(app: Celeriac) -> None:
    reader = app.backend.reader()
    try:
        reader.fetch(["no-such-task"])
    finally:
        reader.close()


def _until(what: str, operation: Callable[[], None], deadline: float, wait_s: float) -> None:
    """Try an operation until it succeeds; after the deadline its error ends the program."""
    said = False
    while True:
        try:
            return operation()
        except (BrokerUnavailable, BackendUnavailable) as error:
            if time.monotonic() >= deadline:
                raise CommandError(
                    f"the {what} cannot be reached (tried for {wait_s:g} s, see --wait-for-broker): {error}", FAILED
                ) from None
            if not said:
                logger.warning("the %s does not answer yet, trying for %g s: %s", what, wait_s, mask(str(error)))
                said = True
        time.sleep(min(RETRY_PAUSE_S, max(0.0, deadline - time.monotonic())))
