"""The revocations in force, as far as this worker has heard."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from celeriac.core.message import Revocation
from celeriac.core.revoking import REVOKED, ids_of, is_task_id

logger = logging.getLogger("celeriac.worker")


class Revocations:
    """The revoked task ids and stamps, each until its own time, and not more than `limit` of them: the oldest go first."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._by_id: dict[str, Revocation] = {}
        self._said = False

    def __len__(self) -> int:
        return len(self._by_id)

    def add(self, revocations: Sequence[Revocation], now: float) -> None:
        """Take in what the broker told, and forget what is past its time; `now` in Unix seconds."""
        for revocation in revocations:
            self._by_id.pop(revocation.id, None)  # said again, it is the youngest
            self._by_id[revocation.id] = revocation
        if revocations:
            self._by_id = {key: kept for key, kept in self._by_id.items() if kept.expires_at > now}
        surplus = len(self._by_id) - self._limit
        if surplus <= 0:
            return
        for key in list(self._by_id)[:surplus]:
            del self._by_id[key]
        if not self._said:
            self._said = True
            logger.warning(
                "more than worker_revokes_max = %d tasks are revoked: the oldest revocations are forgotten", self._limit
            )

    def task_ids(self, now: float) -> list[str]:
        """Return the ids of tasks, not of stamps, that are revoked at `now` (Unix seconds), oldest first."""
        return [one for one, kept in self._by_id.items() if kept.expires_at > now and is_task_id(one)]

    def find(self, headers: Mapping[str, Any], now: float) -> Revocation | None:
        """Return the revocation because of which the task with these headers must not run; `now` in Unix seconds."""
        if REVOKED in headers:
            return Revocation(headers["id"], now)
        if not self._by_id:
            return None
        for one in ids_of(headers):
            revocation = self._by_id.get(one)
            if revocation is not None and revocation.expires_at > now:
                return revocation
        return None
