"""Which scheduler an app has: ours, the one that reads django-celery-beat's tables, or the program's own."""

from __future__ import annotations

import importlib
import logging
from typing import TYPE_CHECKING, Any, Final

from celeriac.beat.scheduler import Scheduler
from celeriac.exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac

logger = logging.getLogger("celeriac.beat")

DJANGO: Final = "celeriac.contrib.django.beat:DatabaseScheduler"

_KNOWN: Final = {
    "django": DJANGO,
    "django_celery_beat.schedulers:DatabaseScheduler": DJANGO,
    "celery.beat:Scheduler": "",
    "celery.beat:PersistentScheduler": "",
    "celeriac.beat:Scheduler": "",
    "celeriac.beat:PersistentScheduler": "",
    "redbeat:RedBeatScheduler": "",
    "redbeat.schedulers:RedBeatScheduler": "",
}
"""Names that programs give -> what is taken here; empty: our own."""


def make_scheduler(app: Celeriac, name: Any = None, **options: Any) -> Scheduler:
    """Return a scheduler for an app; `name` stands for the setting `beat_scheduler`, and `options` are the class' own.

    Raises `ImproperlyConfigured` for what is no scheduler.
    """
    given = name or app.settings.beat_scheduler
    if given is None:
        return Scheduler(app, **options)
    kind = _imported(_normal(given)) if isinstance(given, str) else given
    # One of Celery's makes its entries by its class `Entry`; with `celery.beat` answered by us its base is ours.
    if not isinstance(kind, type) or not issubclass(kind, Scheduler) or hasattr(kind, "Entry"):
        raise ImproperlyConfigured(
            f"beat_scheduler = {given!r} is no celeriac.beat.Scheduler: schedulers written for Celery Beat can't run here;"
            " leave the setting out, or subclass celeriac.beat.Scheduler, or celeriac.contrib.django.beat.DatabaseScheduler"
        )
    return kind(app, **options)


def _normal(name: str) -> str:
    module, _, attribute = name.rpartition(".") if ":" not in name else name.partition(":")
    return f"{module}:{attribute}" if module else name


def _imported(name: str) -> Any:
    known = _KNOWN.get(name, name)
    if "redbeat" in name:
        logger.info(
            "beat_scheduler names RedBeat: the scheduler here keeps its state in Redis as well, under keys of its own"
        )
    if not known:
        return Scheduler
    module, _, attribute = known.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ImproperlyConfigured(f"beat_scheduler = {name!r} can't be imported: {error}") from error
