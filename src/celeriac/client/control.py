"""Telling workers what to do."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from celeriac.core.message import Revocation

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac


class Control:
    """`app.control`."""

    def __init__(self, app: Celeriac) -> None:
        self._app = app

    def revoke(self, task_id: str | Iterable[str], terminate: bool = False, signal: str = "SIGTERM") -> None:
        """Have workers drop these tasks when their turn comes; `terminate` also ends those that run.

        The wish is kept in the broker for `task_revoke_expires_s`, so that workers that start later find it too.
        `signal` names what is sent to a process that is terminated.  Idempotent, blocking.  Raises `BrokerUnavailable`.
        """
        ids = [task_id] if isinstance(task_id, str) else list(task_id)
        expires_at = time.time() + self._app.settings.task_revoke_expires_s
        admin = self._app.broker.admin()
        try:
            admin.revoke([Revocation(one, expires_at, terminate, signal) for one in ids])
        finally:
            admin.close()

    def terminate(self, task_id: str | Iterable[str], signal: str = "SIGTERM") -> None:
        """As `revoke` with `terminate=True`."""
        self.revoke(task_id, terminate=True, signal=signal)
