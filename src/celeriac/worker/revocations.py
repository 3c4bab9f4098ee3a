"""The revocations in force, as far as this worker has heard."""

from __future__ import annotations

from collections.abc import Sequence

from celeriac.core.message import Revocation


class Revocations:
    """A bounded memory of revoked task ids, each until its own time."""

    def __init__(self) -> None:
        self._by_id: dict[str, Revocation] = {}

    def add(self, revocations: Sequence[Revocation], now: float) -> None:
        """Take in what the broker told, and forget what is past its time."""
        for revocation in revocations:
            self._by_id[revocation.id] = revocation
        if revocations:
            self._by_id = {key: kept for key, kept in self._by_id.items() if kept.expires_at > now}

    def __contains__(self, task_id: str) -> bool:
        return task_id in self._by_id
