"""`celeriac report`: which settings are in force and who gave them, versions, and the app's tasks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import click

from celeriac.cli.banner import INTERNAL
from celeriac.cli.output import Column, on_terminal, print_fields, print_json, print_table
from celeriac.cli.target import Target, target_options
from celeriac.client.app import Celeriac
from celeriac.client.bugreport import machine, versions
from celeriac.client.options import TASK_OPTIONS
from celeriac.client.task import Task
from celeriac.core.celery_defaults import CELERY_DEFAULTS
from celeriac.core.setting_secrets import censor, shown_value
from celeriac.core.setting_without_effect import NOT_YET, WITHOUT_EFFECT
from celeriac.core.settings import SETTING_NAMES
from celeriac.core.urls import mask

EXAMPLES = """\b
Examples:
  celeriac -A shop report
  celeriac -A shop report --all
  celeriac -A shop report --json | jq '.settings[] | select(.origin != "default")'
\b
Shown are the settings that the program, the environment or the profile gives, and those whose default is not Celery's;
--all shows every one. Passwords and keys are hidden.
"""

_NOT_CELERYS: Final = object()


@click.command(epilog=EXAMPLES)
@target_options
@click.option("--all", "everything", is_flag=True, help="Show all settings.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_context
def report(ctx: click.Context, *, everything: bool, as_json: bool) -> None:
    """Show which settings are in force, and where each comes from."""
    with ctx.ensure_object(Target).app("whose settings are to be shown") as app:
        app.import_default_modules()
        facts = {
            "app": app.main or "__main__",
            "profile": app.settings.profile,
            "broker": mask(app.locations.broker),
            "results": mask(app.locations.backend),
            "platform": machine(),
            **versions(),
        }
        settings = [_setting(app, name) for name in _names(app, everything)]
        idle = [_idle(app, name) for name in sorted(app.conf.changes.keys() & {*WITHOUT_EFFECT, *NOT_YET})]
        tasks = [_task(task) for name, task in sorted(app.tasks.items()) if not name.startswith(INTERNAL)]
    if as_json:
        print_json({"program": facts, "settings": settings, "without_effect": idle, "tasks": tasks})
        return
    print_fields(facts.items())
    _print("Settings", ("setting", "value", "origin", "Celery's default"), settings)
    _print("Without effect here", ("setting", "value", "origin", "why"), idle)
    _print("Tasks", ("task", "options"), tasks)


def _names(app: Celeriac, everything: bool) -> list[str]:
    conf = app.conf
    names = [name for name in conf if name not in WITHOUT_EFFECT and name not in NOT_YET]
    if everything:
        return names
    return [name for name in names if conf.origin(name) != "default" or _celerys_default(name) is not _NOT_CELERYS]


def _setting(app: Celeriac, name: str) -> dict[str, Any]:
    found = {"setting": name, "value": censor(name, app.conf[name]), "origin": app.conf.origin(name)}
    theirs = _celerys_default(name)
    if theirs is not _NOT_CELERYS and theirs != app.conf[name]:
        found["Celery's default"] = theirs
    return found


def _celerys_default(name: str) -> object:
    """Return Celery's default where it is not ours."""
    return CELERY_DEFAULTS.get(name, _NOT_CELERYS) if name in SETTING_NAMES else _NOT_CELERYS


def _idle(app: Celeriac, name: str) -> dict[str, Any]:
    value = censor(name, app.conf[name])
    why = WITHOUT_EFFECT.get(name, "what it is for does not exist yet")
    return {"setting": name, "value": value, "origin": app.conf.origin(name), "why": why}


def _task(task: Task[Any, Any]) -> dict[str, Any]:
    options = {name: getattr(task, name) for name in TASK_OPTIONS if task.is_explicit(name)}
    return {"task": task.name, "options": options}


def _print(title: str, columns: tuple[str, ...], rows: Iterable[dict[str, Any]]) -> None:
    """Print a titled table; an empty one is left out."""
    rows = list(rows)
    if rows:
        click.echo(f"\n{click.style(title, bold=True)}")
        print_table([Column(name) for name in columns], [[_cell(row, name) for name in columns] for row in rows])


def _cell(row: dict[str, Any], column: str) -> str:
    if column not in row:
        return ""
    value = row[column]
    if column in ("value", "Celery's default"):
        return shown_value(row["setting"], value, width=60 if on_terminal() else 1000)
    if column == "options":
        return ", ".join(f"{name}={option!r}" for name, option in value.items()) or "-"
    return str(value)
