"""`celeriac beat`: run a scheduler until a signal stops it."""

from __future__ import annotations

import logging
import os
import signal
from contextlib import ExitStack
from types import FrameType
from typing import Any

import click

from celeriac.beat import Service
from celeriac.beat.scheduler import Scheduler
from celeriac.cli.errors import USAGE, CommandError
from celeriac.cli.output import counted
from celeriac.cli.params import SECONDS
from celeriac.cli.pidfile import PidFile
from celeriac.cli.target import Target, target_options
from celeriac.cli.worker_options import LEVELS
from celeriac.client.app import Celeriac
from celeriac.client.conf_cmdline import parse_arguments
from celeriac.worker.logs import configure_logging, log_printed, set_up_logging
from celeriac.worker.worker import node_name

logger = logging.getLogger("celeriac.beat")

EXAMPLES = """\b
Examples:
  celeriac -A shop beat
  celeriac -A shop beat -S django
  celeriac -A shop worker --beat
\b
Any number may run at once, on any machines that share broker or store: each tick is sent once.
\b
Exit codes:
  0 stopped as asked    2 wrong options, settings, app or entries
"""


@click.command(epilog=EXAMPLES)
@target_options
@click.option(
    "-s", "--schedule", "filename", metavar="FILE", help="Where ticks are remembered if there is no better place."
)
@click.option("-S", "--scheduler", metavar="CLASS", help="Class of the scheduler, or: django.")
@click.option("--max-interval", type=SECONDS, metavar="S", help="Look at the schedule at least every S seconds.")
@click.option("-l", "--loglevel", type=click.Choice(LEVELS, case_sensitive=False), default="INFO", show_default=True)
@click.option("-f", "--logfile", metavar="FILE", help="Log to a file.")
@click.option("--log-json", is_flag=True, help="Log one JSON object a line.")
@click.option("--pidfile", metavar="FILE", help="Keep the process number here, and start only where none runs.")
@click.argument("more", nargs=-1, metavar="[SETTING=VALUE]...")
@click.pass_context
def beat(ctx: click.Context, /, *, log_json: bool, pidfile: str | None, **given: Any) -> None:
    """Send tasks when their time has come."""
    target = ctx.ensure_object(Target)
    level = logging.getLevelNamesMapping()[given["loglevel"]]
    configure_logging(level, as_json=log_json)
    app = target.app("whose schedule is to be run")
    app.conf.override({**parse_arguments(given["more"]), **beat_settings(given["filename"], given["scheduler"])})
    if log_json:
        app.conf.override({"worker_log_json": True})
    with ExitStack() as stack:
        if pidfile is not None:
            stack.enter_context(PidFile(os.path.expanduser(pidfile)))
        _run(app, given["max_interval"], level, given["logfile"])


def beat_settings(filename: str | None, scheduler: str | None) -> dict[str, Any]:
    """Return the settings that options of a scheduler change."""
    found = {"beat_schedule_filename": filename, "beat_scheduler": scheduler}
    return {name: value for name, value in found.items() if value}


def _run(app: Celeriac, max_interval: float | None, level: int, logfile: str | None) -> None:
    if not app.broker.durable:
        raise CommandError("the memory broker lives in one process only: give the app another broker", USAGE)
    service = Service(app, max_interval)
    try:
        logs_itself = set_up_logging(app, level, logfile, node_name("beat@%h"))
    except OSError as error:
        raise CommandError(f"the log file {logfile} can't be written: {error}", USAGE) from None
    if not logs_itself:
        log_printed(app)

    def stop(_signal: int, _frame: FrameType | None) -> None:
        service.stop()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as HUP is under nohup
            signal.signal(number, stop)
    # Celery's words: process managers and scripts wait for them.
    logger.info("beat: Starting...")
    logger.info("%s", describe(service.scheduler))
    try:
        service.start()
    finally:
        app.log.restore_stdouts()
        app.close()
    logger.info("beat: stopped.")


def describe(scheduler: Scheduler) -> str:
    """Say what a scheduler does, and where it remembers it."""
    known = counted(len(scheduler.own_entries()), "entry").replace("entrys", "entries")
    return f"{known}, ticks are remembered in {scheduler.place.shown}"
