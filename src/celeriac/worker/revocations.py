"""The revocations in force, as far as this worker has heard."""

from __future__ import annotations

from collections.abc import Sequence

from celeriac.core.message import Revocation


class Revocations:
    """The revoked task ids, each until its own time."""

    def __init__(self) -> None:
        self._by_id: dict[str, Revocation] = {}

    def add(self, revocations: Sequence[Revocation], now: float) -> None:
        """Take in what the broker told, and forget what is past its time."""
        for revocation in revocations:
            self._by_id[revocation.id] = revocation
        if revocations:
            self._by_id = {key: kept for key, kept in self._by_id.items() if kept.expires_at > now}

    def refuses(self, task_id: str, now: float) -> bool:
        """Tell whether a task must not run; `now` in Unix seconds."""
        revocation = self._by_id.get(task_id)
        return revocation is not None and revocation.expires_at > now
