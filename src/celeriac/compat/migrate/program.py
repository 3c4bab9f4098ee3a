"""What an app shows that has been imported, with `import celery` answered: the settings in force."""

from __future__ import annotations

from collections.abc import Iterator

from celeriac.beat.choosing import make_scheduler
from celeriac.beat.entry import read_entry
from celeriac.client.app import Celeriac
from celeriac.compat.migrate.finding import Finding
from celeriac.core.celery_defaults import CELERY_DEFAULTS
from celeriac.core.profiles import CELERY
from celeriac.core.setting_secrets import shown_value
from celeriac.core.setting_without_effect import WITHOUT_EFFECT
from celeriac.core.settings import SETTING_NAMES
from celeriac.exceptions import ImproperlyConfigured


def of_program(app: Celeriac, where: str) -> Iterator[Finding]:
    """Yield settings whose value is Celery's default there and another here, those without effect, that no broker is named, and what stops
    a scheduler."""
    given = app.conf.changes
    for name, theirs in CELERY_DEFAULTS.items():
        if name not in SETTING_NAMES or name in given or name in WITHOUT_EFFECT or app.conf.origin(name) != "default":
            continue
        ours = app.conf[name]
        if ours != theirs and (
            ours is not None or name in CELERY
        ):  # None: decided elsewhere, or shown in a form of ours
            cure = "profile = 'celery' takes Celery's" if name in CELERY else f"set it: {name} = {theirs!r}"
            value = f"{shown_value(name, ours)}; Celery's default is {shown_value(name, theirs)}"
            yield Finding("differs", where, f"default of {name}", value, f"{cure}, if you want that")
    for name in sorted(given.keys() & WITHOUT_EFFECT.keys()):
        yield Finding("idle", where, f"setting {name}", "accepted, and without effect", WITHOUT_EFFECT[name])
    if app.conf.broker_url is None:
        yield Finding(
            "differs",
            where,
            "no broker_url",
            "the embedded broker, a file, is used, but for --as-celery; Celery takes amqp://",
            "set broker_url",
        )
    yield from _of_schedule(app, where)


def _of_schedule(app: Celeriac, where: str) -> Iterator[Finding]:
    """Yield a scheduler that can't run here, and entries that none begins with."""
    try:
        make_scheduler(app, lazy=True).close()
    except ImproperlyConfigured as error:
        yield Finding("stops", where, "setting beat_scheduler", "no scheduler starts", str(error))
    for name, entry in {**app.settings.beat_schedule, **app.periodic_tasks}.items():
        try:
            read_entry(app, name, entry, "settings")
        except ImproperlyConfigured as error:
            yield Finding("stops", where, f"schedule entry {name!r}", "no scheduler starts", str(error))
