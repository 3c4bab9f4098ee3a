"""The scheduler that reads the tables of django-celery-beat, and nothing else of that package.

Its entries are edited in Django's admin as before; when each was sent last stands in its row as well.  Which ticks were sent is agreed on
where all schedulers agree (see `celeriac.beat`), so that any number of them may run.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from django.apps import apps
from django.conf import settings as django_settings
from django.db import DatabaseError, InterfaceError, close_old_connections
from django.db.models import F
from django.utils import timezone
from msgspec import UNSET

from celeriac.beat import ScheduleEntry, Scheduler
from celeriac.beat.state import State
from celeriac.contrib.django.clocked import clocked
from celeriac.exceptions import ImproperlyConfigured, OperationalError
from celeriac.schedules import BaseSchedule, crontab, schedule, solar

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac

logger = logging.getLogger("celeriac.beat")

APP_LABEL: Final = "django_celery_beat"
SOURCE: Final = "database"
RELATED: Final = ("interval", "crontab", "solar", "clocked")
_DISABLED: Final = {"enabled": False, "last_run_at": None, "total_run_count": 0}
"""What django-celery-beat leaves of a row that is over: enabled again, it begins anew."""
READ_EVERY_S: Final = 300.0
"""The tables are read so often even if their marker says that nothing was changed: changes by SQL set no marker."""


class DatabaseScheduler(Scheduler):
    """Duties, beside those of `Scheduler`: 1. read the enabled rows of `PeriodicTask`, anew when `PeriodicTasks` says that something was
    changed; 2. write `last_run_at` and `total_run_count` of what was sent; 3. disable what ran as often as it was to, or is over.

    Entries of settings and code run beside them; a row of the same name stands before them.
    """

    def __init__(self, app: Celeriac, *args: Any, **options: Any) -> None:
        if not apps.is_installed(APP_LABEL):
            raise ImproperlyConfigured(
                f"beat_scheduler reads the tables of {APP_LABEL}: put it into INSTALLED_APPS, and run manage.py migrate"
            )
        self._rows: dict[str, ScheduleEntry] = {}
        self._unreadable: dict[str, str] = {}
        """Row -> what was told of it."""
        self._changed: datetime | None = None
        self._read_at: float | None = None
        self._is_read = False
        super().__init__(app, *args, **options)

    def own_entries(self) -> Mapping[str, ScheduleEntry]:
        """Return the entries of settings and code, and those of the tables."""
        self._refresh()
        return {**super().own_entries(), **self._rows}

    def note_sent(self, entry: ScheduleEntry, state: State) -> None:
        """Write into the entry's row that it was sent; where that fails, the next time makes up for it."""
        if entry.source != SOURCE:
            return
        model = _model("PeriodicTask")
        sent = datetime.fromtimestamp(state.sent or state.last, UTC)
        values: dict[str, Any] = {"last_run_at": _stored(sent), "total_run_count": F("total_run_count") + 1}
        if entry.runs_max is not None:
            values = _DISABLED
            self._is_read = False
        with _database():
            # Not `save`: the row may have been edited, and this is no change that others have to read.
            model.objects.filter(name=entry.name).update(**values)

    def _refresh(self) -> None:
        now = time.monotonic()
        with _database():
            changed = _model("PeriodicTasks").last_change()
            due = self._read_at is None or now >= self._read_at + READ_EVERY_S
            if self._is_read and changed == self._changed and not due:
                return
            now_at = _stored(datetime.fromtimestamp(self.app.time_source.time(), UTC))
            _model("PeriodicTask").objects.filter(enabled=True, expires__lte=now_at).update(**_DISABLED)
            rows = list(_model("PeriodicTask").objects.filter(enabled=True).select_related(*RELATED))
        self._rows = {row.name: entry for row in rows if (entry := self._entry(row)) is not None}
        self._changed, self._read_at, self._is_read = changed, now, True

    def _entry(self, row: Any) -> ScheduleEntry | None:
        try:
            return _read(row, self.app)
        except (ValueError, TypeError) as error:
            if self._unreadable.get(row.name) != str(error):
                self._unreadable[row.name] = str(error)
                logger.error("periodic task %r in the database can't be read: %s", row.name, error)
            return None


def _read(row: Any, app: Celeriac) -> ScheduleEntry:
    headers = json.loads(row.headers or "{}")
    options = {key: getattr(row, key) for key in ("queue", "exchange", "routing_key", "priority")}
    found = _schedule(row)
    found.app = app
    return ScheduleEntry(
        name=row.name,
        task=row.task,
        schedule=found,
        args=tuple(json.loads(row.args or "[]")),
        kwargs=dict(json.loads(row.kwargs or "{}")),
        options={key: value for key, value in options.items() if value is not None} | {"headers": headers},
        expires=_expires(row),
        source=SOURCE,
        begins=_aware(row.start_time),
        ends=_aware(row.expires),
        runs_max=1 if row.one_off else None,
        known_last=_aware(row.last_run_at) or _aware(row.date_changed),
        # Without a last run it is new, or was disabled: what came before is not made up for.
        begins_after=_aware(row.date_changed) if row.last_run_at is None else None,
        total_run_count=0 if row.one_off else row.total_run_count,
    )


def _schedule(row: Any) -> BaseSchedule:
    if row.interval is not None:
        return schedule(timedelta(**{row.interval.period: row.interval.every}))
    if row.crontab is not None:
        cron = row.crontab
        fields = (cron.minute, cron.hour, cron.day_of_week, cron.day_of_month, cron.month_of_year)
        return crontab(*fields, tz=cron.timezone if _is_zone_aware() else None)
    if row.solar is not None:
        return solar(row.solar.event, float(row.solar.latitude), float(row.solar.longitude))
    if row.clocked is not None:
        return clocked(_aware(row.clocked.clocked_time))
    raise ValueError("it has no schedule")


def _expires(row: Any) -> Any:
    if row.expire_seconds is not None:
        return row.expire_seconds
    return UNSET if row.expires is None else _aware(row.expires)


def _is_zone_aware() -> bool:
    return bool(getattr(django_settings, "DJANGO_CELERY_BEAT_TZ_AWARE", True))


def _aware(moment: datetime | None) -> datetime | None:
    return timezone.make_aware(moment) if moment is not None and timezone.is_naive(moment) else moment


def _stored(moment: datetime) -> datetime:
    """Return a time as the project's database takes it."""
    return moment if django_settings.USE_TZ else timezone.make_naive(moment)


def _model(name: str) -> Any:
    return apps.get_model(APP_LABEL, name)


@contextmanager
def _database() -> Iterator[None]:
    """Have a database that is away told as everything else that is, and its connection made anew."""
    close_old_connections()
    try:
        yield
    except (DatabaseError, InterfaceError) as error:
        close_old_connections()
        raise OperationalError(f"the tables of {APP_LABEL} can't be used: {error}") from error
