"""Entries that are added at run time: plain data on the board, and back."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from celeriac.beat.entry import ScheduleEntry, read_entry
from celeriac.beat.state import entry_field, stored_names
from celeriac.exceptions import ImproperlyConfigured, ParseException
from celeriac.schedules import crontab, schedule, solar

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac

logger = logging.getLogger("celeriac.beat")

STORE = "store"
"""The source of such an entry."""


class StoredEntries:
    """The entries on a board, each read once for as long as its text is the same. What can't be read is told, and left out."""

    def __init__(self, app: Celeriac) -> None:
        self._app = app
        self._known: dict[str, tuple[str, ScheduleEntry | None]] = {}

    def read(self, texts: Mapping[str, str]) -> dict[str, ScheduleEntry]:
        """Return the entries; `texts` is what stands on the board."""
        names = stored_names(texts)
        self._known = {name: self._of(name, texts[entry_field(name)]) for name in names}
        return {name: entry for name, (_, entry) in self._known.items() if entry is not None}

    def _of(self, name: str, text: str) -> tuple[str, ScheduleEntry | None]:
        known = self._known.get(name)
        if known is not None and known[0] == text:
            return known
        try:
            return text, read_stored(self._app, name, text)
        except ImproperlyConfigured as error:
            logger.error("%s", error)
            return text, None


def write_schedule(found: Any) -> dict[str, Any]:
    """Return a schedule as plain data. Raises `ImproperlyConfigured` for one of the program's own classes."""
    match found:
        case crontab() if type(found) is crontab:
            zone = found.own_zone
            return {"crontab": found.line(), **({} if zone is None else {"tz": str(zone)})}
        case schedule() if type(found) is schedule:
            return {"every_s": found.seconds, **({"relative": True} if found.relative else {})}
        case solar() if type(found) is solar:
            return {"solar": [found.event, found.lat, found.lon]}
    raise ImproperlyConfigured(
        f"{found!r} can't be kept in a store: a crontab, an interval or solar can; put it into the settings"
    )


def read_schedule(given: Any) -> Any:
    """Return the schedule that plain data mean. Raises `ParseException`."""
    match given:
        case {"crontab": str(line)}:
            return crontab.from_string(line, tz=given.get("tz"))
        case {"every_s": int() | float() as every_s}:
            return schedule(every_s, bool(given.get("relative")))
        case {"solar": [str(event), lat, lon]}:
            return solar(event, lat, lon)
    raise ParseException(f"{given!r:.200} is no schedule")


def read_stored(app: Celeriac, name: str, text: str) -> ScheduleEntry:
    """Return the entry in a text. Raises `ImproperlyConfigured` that names it."""
    try:
        given = json.loads(text)
        given = {**given, "schedule": read_schedule(given.get("schedule"))}
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ImproperlyConfigured(f"schedule entry {name!r} in the store can't be read: {error}") from None
    return read_entry(app, name, given, STORE)


def write_stored(app: Celeriac, name: str, given: dict[str, Any]) -> str:
    """Check an entry, written as in `beat_schedule`, and return its text. Raises `ImproperlyConfigured`."""
    entry = read_entry(app, name, given, STORE)
    plain = {key: value for key, value in given.items() if key not in ("schedule", "relative")}
    try:
        return json.dumps({**plain, "schedule": write_schedule(entry.schedule)}, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise ImproperlyConfigured(
            f"schedule entry {name!r} can't be kept in a store, which takes JSON: {error}"
        ) from None
