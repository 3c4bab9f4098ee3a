"""Options that Celery's command has before the name of a command: they may stand in scripts that are not to be changed."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

import click

from celeriac.client.conf_environment import CONFIG_MODULE_VARIABLES

Command = TypeVar("Command", bound=Callable[..., Any])


def celery_options(command: Command) -> Command:
    """Add them. `--config` and `--no-color` do what they say; the others have nothing to do here."""
    options = (
        click.option(
            "--config", metavar="MODULE", expose_value=False, callback=_config, help="Module with the app's settings."
        ),
        click.option(
            "-C", "--no-color", is_flag=True, expose_value=False, callback=_no_color, help="Print without colours."
        ),
        click.option("-q", "--quiet", is_flag=True, expose_value=False, hidden=True),
        click.option("--skip-checks", is_flag=True, expose_value=False, hidden=True),
        click.option("--loader", expose_value=False, hidden=True),
    )
    for option in reversed(options):
        command = option(command)
    return command


def _config(_ctx: click.Context, _param: click.Parameter, module: str | None) -> None:
    if module is not None:
        os.environ[CONFIG_MODULE_VARIABLES[0]] = module  # the worker's executors read it as well


def _no_color(ctx: click.Context, _param: click.Parameter, wanted: bool) -> None:
    if wanted:
        ctx.color = False
        os.environ["NO_COLOR"] = "1"
