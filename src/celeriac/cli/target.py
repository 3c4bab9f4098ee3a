"""Which app, or at least which broker, a command is about: `-A`, `--broker`, `--result-backend`, `--workdir`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from celeriac.cli.errors import USAGE, CommandError
from celeriac.client.app import Celeriac
from celeriac.client.loading import load_app
from celeriac.client.locations import BACKEND_VARIABLES, BROKER_VARIABLES, EMBEDDED_FILE
from celeriac.core.ports import Admin

APP_VARIABLE: Final = "CELERIAC_APP"

Command = TypeVar("Command", bound=Callable[..., Any])


class Target:
    """What the options say, and what follows from it; the app is imported when a command needs it, and once."""

    def __init__(self) -> None:
        self.app_spec: str | None = None
        self.broker: str | None = None
        self.result_backend: str | None = None
        self.workdir: str | None = None
        self._app: Celeriac | None = None

    def app(self, why: str) -> Celeriac:
        """Return the app that `-A` names; `why` ends the error when it is not given."""
        if self.app_spec is None:
            raise CommandError(f"no app given: use -A module (or set {APP_VARIABLE}), {why}", USAGE)
        if self._app is None:
            self._prepare()
            self._app = load_app(self.app_spec, os.getcwd())
        return self._app

    def any_app(self) -> Celeriac:
        """Return the app if one is named, else a nameless one that knows the broker only."""
        if self.app_spec is None and self._app is None:
            self._prepare()
            # The embedded broker is used where there is one; looking must not make one.
            if not _broker_in_environment() and not EMBEDDED_FILE.exists():
                raise CommandError(
                    "no broker given: use -A module, --broker URL, or start in the directory of a program that uses the"
                    " embedded broker",
                    USAGE,
                )
            self._app = Celeriac("celeriac-command-line")
        app = self._app or self.app("")
        if app.settings.broker_url is None and not _broker_in_environment() and EMBEDDED_FILE.exists():
            # Named, so that not each command says once more that the embedded broker is used, and where it is.
            os.environ[BROKER_VARIABLES[0]] = f"sqlite:///{EMBEDDED_FILE.absolute()}"
        return app

    @contextmanager
    def admin(self) -> Iterator[tuple[Celeriac, Admin]]:
        """Open the administrative side of the broker, and close everything afterwards."""
        app = self.any_app()
        admin = app.broker.admin()
        try:
            yield app, admin
        finally:
            admin.close()
            app.close()

    def enter_workdir(self) -> None:
        """Go to `--workdir`. Idempotent."""
        workdir, self.workdir = self.workdir, None
        if workdir is not None:
            os.chdir(workdir)

    def _prepare(self) -> None:
        """Make the options hold for this process and those that it starts: a worker's executors import the app again."""
        self.enter_workdir()
        if self.broker is not None:
            os.environ[BROKER_VARIABLES[0]] = self.broker
        if self.result_backend is not None:
            os.environ[BACKEND_VARIABLES[0]] = self.result_backend


def _broker_in_environment() -> bool:
    return any(os.environ.get(name) for name in BROKER_VARIABLES)


def _remember(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    """Keep an option in the target that all commands of one call share, whether it stands before or after the command."""
    if value is not None and param.name is not None:
        setattr(ctx.ensure_object(Target), param.name, value)


def target_options(command: Command) -> Command:
    """Add the options that say what a command is about."""
    options = (
        click.option(
            "-A",
            "--app",
            "app_spec",
            metavar="APP",
            expose_value=False,
            callback=_remember,
            help=f"The app: module, module:variable or package.  [env: {APP_VARIABLE}]",
        ),
        click.option(
            "-b",
            "--broker",
            metavar="URL",
            expose_value=False,
            callback=_remember,
            help=f"The broker, instead of the app's.  [env: {BROKER_VARIABLES[0]}]",
        ),
        click.option(
            "--result-backend",
            "--backend",
            metavar="URL",
            expose_value=False,
            callback=_remember,
            help=f"The result backend, instead of the app's.  [env: {BACKEND_VARIABLES[0]}]",
        ),
        click.option(
            "--workdir",
            type=click.Path(exists=True, file_okay=False, path_type=Path),
            metavar="DIR",
            expose_value=False,
            callback=_remember,
            help="Go to this directory first; the app is imported from there.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command
