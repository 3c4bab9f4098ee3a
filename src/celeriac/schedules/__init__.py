"""When tasks of a schedule are due: Celery's `celery.schedules`."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from celeriac.exceptions import ParseException
from celeriac.schedules.base import BaseSchedule, schedstate
from celeriac.schedules.crontab import crontab, crontab_parser
from celeriac.schedules.interval import schedule
from celeriac.schedules.solar import solar

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac

__all__ = [
    "BaseSchedule",
    "ParseException",
    "crontab",
    "crontab_parser",
    "maybe_schedule",
    "schedstate",
    "schedule",
    "solar",
]


def maybe_schedule(s: Any, relative: bool = False, app: Celeriac | None = None) -> Any:
    """Return the schedule that a value means: seconds and a timedelta are an interval, a text is a line of cron.

    Anything else is returned as it is, as Celery does; a schedule is given the app.  Raises `ParseException`.
    """
    if isinstance(s, bool):
        return s
    if isinstance(s, int | float | timedelta):
        return schedule(s, relative, app=app)
    if isinstance(s, str):
        return crontab.from_string(s, app=app)
    if isinstance(s, BaseSchedule) and app is not None:
        s.app = app
    return s
