"""What the program of a worker does before it opens anything: who it is, whether it goes to the background, which file is its own."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from celeriac.cli.detaching import Detached
from celeriac.cli.errors import USAGE, CommandError
from celeriac.cli.pidfile import PidFile
from celeriac.cli.privileges import go_on_as
from celeriac.cli.reloading import reload_unless_child
from celeriac.cli.target import Target
from celeriac.client.log_setup import file_name

Ready = Callable[[], None]


def become_worker(stack: ExitStack, given: Mapping[str, Any], target: Target, node: str) -> Ready:
    """Do what `--reload`, `--uid`, `--gid`, `--umask`, `--workdir`, `--detach` and `--pidfile` ask for, in this order.

    `stack` undoes it when the worker ends.  Returns what is to be called once the worker works.  Names of files are read in the
    directory in which the worker runs.  Raises `CommandError`.
    """
    if given["reload"]:
        if given["detach"]:
            raise CommandError("--reload is for development, in a terminal: leave --detach away", USAGE)
        reload_unless_child(Path(target.workdir or "."))
    go_on_as(given["uid"], given["gid"])
    if given["umask"] is not None:
        os.umask(given["umask"])
    target.enter_workdir()
    ready: Ready = _nothing
    if given["detach"]:
        logfile = given["logfile"]
        if logfile is None:
            click.echo("without --logfile, what a worker in the background logs is lost", err=True)
        ready = stack.enter_context(Detached(None if logfile is None else file_name(logfile, node))).ready
    if given["pidfile"] is not None:
        stack.enter_context(PidFile(file_name(os.path.expanduser(given["pidfile"]), node)))
    if os.getpid() == 1:
        # The kernel spares process 1 of a container every signal that it has no handler for, and the worker's loop, which has some,
        # begins when the app is imported and the broker answers.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    return ready


def _nothing() -> None:
    pass
