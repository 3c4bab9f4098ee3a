"""The housekeeping of everything that a result backend keeps in the file."""

from __future__ import annotations

import sqlite3

from celeriac.transports.sqlite import chords, groups, results


def expire_results(connection: sqlite3.Connection, now: float) -> None:
    """Delete results, chords and saved groups whose time is over, so many at a time that nobody has to wait for it."""
    results.expire(connection, now)
    chords.expire(connection, now)
    groups.expire(connection, now)
