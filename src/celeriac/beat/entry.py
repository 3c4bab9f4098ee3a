"""An entry of a schedule: which task is sent, when, and how."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, Any, Final

from msgspec import UNSET, UnsetType

from celeriac.beat.foreign import cadence_of
from celeriac.client.options import nearest
from celeriac.client.periodic import WORKFLOWS
from celeriac.core.schedules.cadence import Cadence, Zoned
from celeriac.core.schedules.ticks import MISFIRES, Misfire, Rule
from celeriac.exceptions import ImproperlyConfigured, ParseException
from celeriac.schedules import BaseSchedule, crontab, maybe_schedule

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac

KEYS: Final = (
    "task", "schedule", "args", "kwargs", "options", "relative", "misfire", "jitter", "expires", "enabled",
)  # fmt: skip
"""What an entry in `beat_schedule` may say."""


class BeatLazyFunc:
    """An argument that is worked out as the task is sent: `BeatLazyFunc(function, *args, **kwargs)`."""

    def __init__(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        self._func = func
        self._args = args
        self._kwargs = kwargs

    def __call__(self) -> Any:
        return self.delay()

    def delay(self) -> Any:
        """Return the argument."""
        return self._func(*self._args, **self._kwargs)


@dataclass(kw_only=True)
class ScheduleEntry:
    """One entry; Celery's names, and ours after them. No `Struct`: packages made for Celery subclass it, with an `__init__` of their own."""

    name: str
    task: str
    schedule: Any
    """A `BaseSchedule`, ours or the program's own."""
    args: Iterable[Any] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    """Those of `apply_async`."""
    last_run_at: datetime | None = None
    total_run_count: int = 0
    misfire: Misfire | None = None
    """None: by the setting."""
    jitter_s: float | None = None
    """None: by the setting."""
    expires: float | timedelta | datetime | UnsetType | None = UNSET
    """Of each run; not set: by the setting `beat_expires_below_s`; None: never."""
    enabled: bool = True
    source: str = "settings"
    """Where it comes from: settings, code, store, or a database."""
    begins: datetime | None = None
    begins_after: datetime | None = None
    """Ticks and runs up to here do not count: since then it is new."""
    ends: datetime | None = None
    runs_max: int | None = None
    """It is over after so many runs."""
    known_last: datetime | None = None
    """Its latest tick, as far as its source knows, for schedulers that have never heard of it."""

    def cadence(self, zone: tzinfo) -> Cadence:
        """Return its ticks, in UTC; `zone` is that of schedules that read clocks and name none themselves."""
        return Zoned(cadence_of(self.schedule), zone)

    def rule(self, app: Celeriac) -> Rule:
        """Return how it is sent, by itself and the settings."""
        settings = app.settings
        misfire = self.misfire or settings.beat_misfire
        limit_s = {"skip": settings.beat_misfire_grace_s, "once": math.inf, "all": settings.beat_misfire_all_max_s}
        deadline_s = settings.beat_cron_starting_deadline if isinstance(self.schedule, crontab) else None
        jitter_s = settings.beat_jitter_s if self.jitter_s is None else self.jitter_s
        return Rule(misfire, min(limit_s[misfire], math.inf if deadline_s is None else deadline_s), jitter_s)


def read_entries(app: Celeriac, given: Mapping[str, Any], source: str) -> dict[str, ScheduleEntry]:
    """Return the entries of `beat_schedule`. Raises `ImproperlyConfigured` that names the entry and what is wrong with it."""
    return {name: read_entry(app, name, entry, source) for name, entry in given.items()}


def read_entry(app: Celeriac, name: str, given: Any, source: str) -> ScheduleEntry:
    """Return one of them. Raises as `read_entries`."""
    where = f"schedule entry {name!r}"
    if isinstance(given, ScheduleEntry):
        return given
    if not isinstance(given, Mapping):
        raise ImproperlyConfigured(f"{where}: wanted is a dict with 'task' and 'schedule', not {given!r:.100}")
    for key in given:
        if key not in KEYS:
            raise ImproperlyConfigured(
                f"{where}: unknown key {key!r}{nearest(str(key), KEYS)}; there are {', '.join(KEYS)}"
            )
    if not isinstance(given.get("task"), str) or not given["task"]:
        raise ImproperlyConfigured(f"{where}: 'task' is the name of a task, not {given.get('task')!r:.100}")
    if given["task"] in WORKFLOWS:
        raise ImproperlyConfigured(
            f"{where}: {given['task']} is no task: write one that calls the workflow, and schedule that"
        )
    if "schedule" not in given:
        raise ImproperlyConfigured(
            f"{where} has no 'schedule': give seconds, a timedelta, a line of cron or a crontab(...)"
        )
    entry = ScheduleEntry(
        name=name,
        task=given["task"],
        schedule=_schedule(app, where, given["schedule"], bool(given.get("relative"))),
        args=_args(where, given.get("args") or ()),
        kwargs=_mapping(where, "kwargs", given.get("kwargs")),
        options=_mapping(where, "options", given.get("options")),
        misfire=_misfire(where, given.get("misfire")),
        jitter_s=_seconds(where, "jitter", given.get("jitter")),
        expires=given.get("expires", UNSET),
        enabled=bool(given.get("enabled", True)),
        source=source,
    )
    _check_expires(where, entry)
    check_call(app, entry)
    return entry


def check_call(app: Celeriac, entry: ScheduleEntry) -> None:
    """Raise `ImproperlyConfigured` for arguments that the task, if it is known here, does not take."""
    task = app.tasks.get(entry.task)
    if task is None or any(isinstance(argument, BeatLazyFunc) for argument in entry.args):
        return
    try:
        task.check_arguments(tuple(entry.args), dict(entry.kwargs))
    except TypeError as error:
        raise ImproperlyConfigured(f"schedule entry {entry.name!r}: {error}") from None


def _schedule(app: Celeriac, where: str, given: Any, relative: bool) -> Any:
    try:
        found = maybe_schedule(given, relative, app)
    except (ParseException, TypeError) as error:
        raise ImproperlyConfigured(f"{where}: {error}") from None
    if inspect.isclass(found) or not (hasattr(found, "next_after") or hasattr(found, "is_due")):
        raise ImproperlyConfigured(
            f"{where}: 'schedule' is seconds, a timedelta, a line of cron, or a schedule such as crontab(...), not {given!r:.100}"
        )
    if isinstance(found, BaseSchedule):
        found.app = app
    return found


def _args(where: str, given: Any) -> Iterable[Any]:
    if isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable):
        raise ImproperlyConfigured(
            f"{where}: 'args' is a list or a tuple, not {given!r:.100}; for one argument: ({given!r:.50},)"
        )
    return tuple(given)


def _mapping(where: str, key: str, given: Any) -> Mapping[str, Any]:
    if given is None:
        return {}
    if not isinstance(given, Mapping) or not all(isinstance(one, str) for one in given):
        raise ImproperlyConfigured(f"{where}: {key!r} is a dict with texts for keys, not {given!r:.100}")
    return dict(given)


def _misfire(where: str, given: Any) -> Misfire | None:
    if given is not None and given not in MISFIRES:
        raise ImproperlyConfigured(f"{where}: 'misfire' is one of {', '.join(MISFIRES)}, not {given!r:.100}")
    found: Misfire | None = given
    return found


def _seconds(where: str, key: str, given: Any) -> float | None:
    if isinstance(given, timedelta):
        given = given.total_seconds()
    if given is not None and (isinstance(given, bool) or not isinstance(given, int | float) or given < 0):
        raise ImproperlyConfigured(f"{where}: {key!r} is seconds, 0 or more, not {given!r:.100}")
    return given


def _check_expires(where: str, entry: ScheduleEntry) -> None:
    expires = entry.expires
    if expires is UNSET or expires is None or isinstance(expires, datetime):
        return
    _seconds(where, "expires", expires)
    if "expires" in entry.options:
        raise ImproperlyConfigured(f"{where}: 'expires' stands in the entry and in its options; say it once")


def in_utc(moment: datetime) -> datetime:
    """Return a time in UTC; one without a zone is meant so."""
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).astimezone(UTC)
