"""The program for schedules: its task notes by which tick it was sent."""

from __future__ import annotations

import time
from typing import Any

from celeriac.torture.journal import END, START, record
from celeriac.torture.systems.celeriac_program import JOURNAL, app, send

__all__ = ["app", "send"]


@app.task(name="strike", bind=True)
def strike(self: Any, entry: str, seconds: float) -> None:
    """Note the tick, which is known by the task's id."""
    key = f"{entry} {self.request.id}"
    record(JOURNAL, START, key)
    time.sleep(seconds)
    record(JOURNAL, END, key)
