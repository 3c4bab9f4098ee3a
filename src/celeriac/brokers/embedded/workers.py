"""The tables of workers and revocations. Each function is a part of the caller's transaction.

A lease runs on the machine's monotonic clock: it is one for all processes since the machine was started, it stands still while
the machine sleeps (so that waking up does not end every lease at once), and nobody can set it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from celeriac.brokers.embedded.processes import ProcessIdentity, is_gone
from celeriac.core.message import Revocation


def take_lease(
    connection: sqlite3.Connection, owner: str, process: ProcessIdentity, lease_s: float, monotonic: float
) -> None:
    """Register the worker; its lease runs from now."""
    connection.execute(
        "INSERT OR REPLACE INTO workers (owner, lease_until, lease_s, machine, pid, process) VALUES (?, ?, ?, ?, ?, ?)",
        (owner, monotonic + lease_s, lease_s, process.machine, process.pid, process.started),
    )


def renew_lease(connection: sqlite3.Connection, owner: str, monotonic: float) -> bool:
    """Let the lease run from now; False when there is none any more."""
    cursor = connection.execute("UPDATE workers SET lease_until = ? + lease_s WHERE owner = ?", (monotonic, owner))
    return cursor.rowcount == 1


def has_lease(connection: sqlite3.Connection, owner: str) -> bool:
    """Tell whether nobody has ended the worker's lease."""
    return connection.execute("SELECT 1 FROM workers WHERE owner = ?", (owner,)).fetchone() is not None


def give_up_lease(connection: sqlite3.Connection, owner: str) -> None:
    """Strike the worker out."""
    connection.execute("DELETE FROM workers WHERE owner = ?", (owner,))


def find_lost(connection: sqlite3.Connection, watcher: str, monotonic: float) -> list[tuple[str, float]]:
    """Return the workers, with their leases, that are gone: lease run out, or process ended. Never the one that asks."""
    lost = []
    for owner, lease_until, lease_s, machine, pid, started in connection.execute(
        "SELECT owner, lease_until, lease_s, machine, pid, process FROM workers WHERE owner <> ?", (watcher,)
    ):
        # A lease that would last longer than any can was taken before the machine was started.
        runs = 0 <= lease_until - monotonic <= lease_s
        if not runs or is_gone(ProcessIdentity(machine, pid, started)):
            lost.append((owner, lease_until))
    return lost


def end_leases(connection: sqlite3.Connection, lost: Iterable[tuple[str, float]]) -> None:
    """Strike out the workers that were found lost, unless they have renewed their lease since."""
    connection.executemany("DELETE FROM workers WHERE owner = ? AND lease_until = ?", lost)


def revoke(connection: sqlite3.Connection, revocations: Iterable[Revocation]) -> None:
    """Keep the revocations; one that says nothing new changes nothing."""
    for revocation in revocations:
        said = (
            revocation.id, revocation.expires_at, revocation.terminate, revocation.signal, revocation.signature,
        )  # fmt: skip
        known = connection.execute(
            "SELECT 1 FROM revocations WHERE id = ? AND expires_at >= ? AND terminate = ? AND signal = ? AND signature = ?",
            said,
        ).fetchone()
        if known is None:
            # With a new number, so that consumers which saw the old one see this one too.
            connection.execute("DELETE FROM revocations WHERE id = ?", (revocation.id,))
            columns = "id, expires_at, terminate, signal, signature"
            connection.execute(f"INSERT INTO revocations ({columns}) VALUES (?, ?, ?, ?, ?)", said)


def revocations_after(connection: sqlite3.Connection, number: int, now: float) -> tuple[int, list[Revocation]]:
    """Return the revocations in force with a higher number, and the highest number given so far."""
    row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'revocations'").fetchone()
    newest: int = row[0] if row else 0
    after = number if newest >= number else 0  # the file is a new one
    found = connection.execute(
        "SELECT id, expires_at, terminate, signal, signature FROM revocations WHERE number > ? AND expires_at > ?"
        " ORDER BY number",
        (after, now),
    )
    return newest, [
        Revocation(task_id, until, bool(terminate), signal, signature)
        for task_id, until, terminate, signal, signature in found
    ]


def expire_revocations(connection: sqlite3.Connection, now: float) -> None:
    """Delete revocations whose time is over."""
    connection.execute("DELETE FROM revocations WHERE expires_at <= ?", (now,))
