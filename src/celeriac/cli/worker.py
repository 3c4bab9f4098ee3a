"""`celeriac worker`: run a worker until a signal stops it."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from typing import Any, Final

import click

from celeriac.cli.banner import banner_lines
from celeriac.cli.beat import beat_settings
from celeriac.cli.cautions import app_urls, cautions
from celeriac.cli.daemon import Ready, become_worker
from celeriac.cli.errors import FAILED, USAGE, CommandError
from celeriac.cli.target import Target, target_options
from celeriac.cli.worker_options import MADE_FOR_THE_OTHER, POOLS, worker_options
from celeriac.client.app import Celeriac
from celeriac.client.conf_cmdline import parse_arguments
from celeriac.core.settings import Settings
from celeriac.core.urls import mask, scheme
from celeriac.exceptions import BackendUnavailable, BrokerUnavailable
from celeriac.worker.logs import configure_logging, log_printed, set_up_logging
from celeriac.worker.spawners import ThreadSpawner
from celeriac.worker.worker import Worker, WorkerOptions, node_name, program_worker

logger = logging.getLogger("celeriac.worker")

FOREIGN_POOLS: Final = ("gevent", "eventlet")
RETRY_PAUSE_S: Final = 0.5

EXAMPLES = """\b
Examples:
  celeriac -A shop worker
  celeriac -A shop worker -c 4 -Q default,mail -n mailer@%h
  celeriac -A shop worker -c 2 --threads 20 --async 500
  celeriac -A shop worker --max-tasks-per-child 1000 --time-limit 600
  celeriac -A shop worker --autoscale 10,2 --health-port 8091
  celeriac -A shop worker -- worker.prefetch_multiplier=1 result_expires=600
\b
Signals:
  TERM, INT   stop: running tasks have the grace time (HUP likewise, but under nohup)
  QUIT        stop sooner: running tasks have worker_soft_shutdown_timeout seconds (default: none)
  any again   one step sooner; what has not ended is given back to its queue
\b
Exit codes:
  0 stopped as asked    1 broker or results cannot be reached, or another worker has the pidfile
  2 wrong options, settings or app
"""


@click.command(epilog=EXAMPLES)
@target_options
@worker_options
@click.argument("more", nargs=-1, metavar="[SETTING=VALUE]...")
@click.pass_context
def worker(ctx: click.Context, /, **given: Any) -> None:
    """Run tasks until a signal stops it."""
    target = ctx.ensure_object(Target)
    _pool_kind(given["pool"])
    with ExitStack() as stack:
        ready = become_worker(stack, given, target, node_name(given["hostname"]))
        _run(target, ready, **given)


def _run(
    target: Target,
    ready: Ready,
    *,
    pool: str | None,
    loglevel: str,
    logfile: str | None,
    log_json: bool,
    wait_s: float,
    allow_embedded: bool,
    **given: Any,
) -> None:
    kind = _pool_kind(pool)
    level = logging.getLevelNamesMapping()[loglevel]
    configure_logging(level, as_json=log_json)
    app = target.app("whose tasks the worker is to run")
    changes = {**parse_arguments(given["more"]), **_changed_settings(given, app.settings)}
    if log_json:
        changes["worker_log_json"] = True
    app.conf.override(changes)
    if given["include"]:
        try:
            app.import_default_modules()
        except ImportError as error:
            raise CommandError(f"--include {','.join(given['include'])}: {error}", USAGE) from None
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
    made = _make_worker(app, target, kind, _worker_options(kind, given), level, log_json, changes, logfile, ready)
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
    if given["purge"]:
        _purge(app, made.queues)
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
    if given["autoscale"] is not None and kind in ("threads", "asyncio", "solo"):
        raise click.BadOptionUsage(
            "autoscale", f"--autoscale is about processes, and with -P {kind} there are none; use -c"
        )
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
        beat=given["beat"] or given["schedule_filename"] is not None,
        autoscale=given["autoscale"],
    )


def _changed_settings(given: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """Return the settings that options override, for this process and for the executors."""
    names = {
        "time_limit": "task_time_limit",
        "soft_time_limit": "task_soft_time_limit",
        "max_tasks_per_child": "worker_max_tasks_per_child",
        "max_memory_per_child": "worker_max_memory_per_child",
        "prefetch": "worker_prefetch_max",
        "prefetch_multiplier": "worker_prefetch_multiplier",
        "disable_prefetch": "worker_disable_prefetch",
        "heartbeat_file": "worker_heartbeat_file",
        "heartbeat_interval": "worker_event_heartbeat_s",
    }
    changes = {setting: given[option] for option, setting in names.items() if given[option] is not None}
    if given["task_events"]:
        changes["worker_send_task_events"] = True
    if given["without_heartbeat"]:
        changes["worker_event_heartbeat_s"] = 0.0
    if given["without_mingle"]:
        changes["worker_enable_mingle"] = False
    changes |= beat_settings(given["schedule_filename"], given["scheduler"])
    if given["include"]:
        changes["include"] = (*settings.include, *given["include"])
    if given["health_port"] is not None:
        host, changes["worker_health_port"] = given["health_port"]
        changes["worker_health_host"] = host or settings.worker_health_host
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
    ready: Ready,
) -> Worker:
    assert target.app_spec is not None

    def on_ready(worker: Worker) -> None:
        # Celery's words: process managers and scripts wait for them.
        logger.info("%s ready.", worker.hostname)
        ready()

    if kind == "solo" and app.broker.durable:
        return Worker(app, options, lambda hostname: ThreadSpawner(app, hostname), on_ready)
    return program_worker(
        app,
        options,
        app_spec=target.app_spec,
        workdir=os.getcwd(),
        loglevel=level,
        log_json=log_json,
        settings=changes,
        logfile=logfile,
        on_ready=on_ready,
    )


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


def _purge(app: Celeriac, queues: tuple[str, ...]) -> None:
    with closing(app.broker.admin()) as admin:
        for queue in queues:
            logger.warning("--purge: %d messages deleted from %s", admin.purge(queue), queue)


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
