"""The schedule that comes once."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from celeriac.schedules import BaseSchedule


class clocked(BaseSchedule):  # noqa: N801 - the name in django-celery-beat
    """One tick at a time of the clock; `clocked_time` has a zone."""

    def __init__(self, clocked_time: datetime | None, **options: Any) -> None:
        super().__init__(**options)
        if clocked_time is None:
            raise ValueError("a clocked schedule needs its time")
        self.clocked_time = clocked_time

    def next_after(self, instant: datetime) -> datetime | None:
        """Return the time, if it is still to come."""
        if self.clocked_time.astimezone(UTC) <= instant.astimezone(UTC):
            return None
        return self.clocked_time.astimezone(instant.tzinfo)

    def __repr__(self) -> str:
        return f"<clocked: {self.clocked_time}>"
