"""Telling workers what to do."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from celeriac.client import left_out, rate_board
from celeriac.client.signing import sign_revocations
from celeriac.client.stop_signals import signal_name
from celeriac.client.withdrawing import conclude_withdrawn
from celeriac.core.message import Message, Revocation
from celeriac.core.rates import Rate
from celeriac.core.revoking import stamp_id
from celeriac.exceptions import ArgumentError, CeleriacError

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac

logger = logging.getLogger("celeriac.control")


class Control:
    """`app.control`."""

    def __init__(self, app: Celeriac) -> None:
        self._app = app

    def revoke(
        self,
        task_id: str | Iterable[str],
        destination: Any = None,
        terminate: bool = False,
        signal: str | int | None = "SIGTERM",
        *,
        reply: bool = False,
        timeout: float | None = None,
        connection: Any = None,
        **_broadcast: Any,
    ) -> None:
        """Have no worker run these tasks; with `terminate`, end those that run, too.

        The wish is kept in the broker for `task_revoke_expires_s`, so that workers that start later find it; what is delayed is
        taken out of the delay at once, where the broker can.

        Args:
            task_id: an id, or several.
            terminate: also end what runs; how, depends on its executor.
            signal: name or number of what is sent to the process of a task that is terminated.
            destination, reply, timeout, connection: accepted for Celery's sake; every worker hears of it, and none has to answer.

        Idempotent, blocking.  Raises `ArgumentError` for what is no signal or no id, `BrokerUnavailable`.
        """
        ids = [task_id] if isinstance(task_id, str) else list(task_id)
        for one in ids:
            if not isinstance(one, str) or not one:
                raise ArgumentError(f"revoke() takes ids of tasks, which are texts, not {one!r:.80}")
        self._revoke(ids, terminate, signal)

    def revoke_by_stamped_headers(
        self,
        headers: Mapping[str, Any],
        destination: Any = None,
        terminate: bool = False,
        signal: str | int | None = "SIGTERM",
        *,
        reply: bool = False,
        timeout: float | None = None,
        connection: Any = None,
        **_broadcast: Any,
    ) -> None:
        """As `revoke`, for every task that carries one of these stamps.

        Args:
            headers: name of a stamp -> its value, or a list of values any of which will do.

        Raises also `ArgumentError` for a value that is no plain data.
        """
        if not isinstance(headers, Mapping):
            raise ArgumentError(f"revoke_by_stamped_headers() takes a dict of stamps, not {headers!r:.80}")
        ids = [
            stamp_id(name, value)
            for name, values in headers.items()
            for value in (values if isinstance(values, list | tuple | set | frozenset) else (values,))
        ]
        self._revoke(ids, terminate, signal)

    def terminate(
        self,
        task_id: str | Iterable[str],
        destination: Any = None,
        signal: str | int | None = "SIGTERM",
        **broadcast: Any,
    ) -> None:
        """As `revoke` with `terminate=True`."""
        self.revoke(task_id, destination, terminate=True, signal=signal, **broadcast)

    def rate_limit(self, task_name: str, rate_limit: Rate, destination: Any = None, **_broadcast: Any) -> None:
        """Set a task's rate on all workers from now on, those that start later among them; None or 0: no limit.

        It is kept where limits are agreed on, and reaches running workers with their next heartbeat; `reset_rate_limit` goes back
        to what the task says.  `destination` and other options of Celery's broadcast are accepted: every worker hears of it.

        Idempotent, blocking.  Raises `ArgumentError` for what is no rate, `ImproperlyConfigured` on RabbitMQ without a
        `coordination_url`, `OperationalError` when the place where limits are agreed on is away.
        """
        rate_board.set_rate(self._app, task_name, rate_limit)

    def reset_rate_limit(self, task_name: str) -> None:
        """Go back to the rate that the task itself says. Raises as `rate_limit`."""
        rate_board.reset_rate(self._app, task_name)

    def purge(self, connection: Any = None) -> int:
        """Delete what waits in the app's queues, delayed or ready, and return how many messages that were; Celery's `discard_all`.

        What runs, and what was parked, stays.  Blocking.  Raises `BrokerUnavailable`.
        """
        admin = self._app.broker.admin()
        try:
            return sum(admin.purge(queue) for queue in self._app.amqp.queues.consume_from)
        finally:
            admin.close()

    discard_all = purge

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            raise left_out.explain("app.control", name, left_out.OF_CONTROL)

    def _revoke(self, ids: Sequence[str], terminate: bool, signal: str | int | None) -> None:
        name = signal_name(signal)
        expires_at = self._app.time_source.time() + self._app.settings.task_revoke_expires_s
        revocations = [Revocation(one, expires_at, bool(terminate), name) for one in dict.fromkeys(ids)]
        if not revocations:
            return
        revocations = sign_revocations(self._app, revocations)
        admin = self._app.broker.admin()
        try:
            admin.revoke(revocations)
            try:
                admin.withdraw_delayed(revocations, self._withdrawn, self._app.settings.publish_timeout_s)
            except CeleriacError as error:
                # It is revoked all the same: what could not be taken out of the delay is refused when it is due.
                logger.warning("revoked tasks stay in their delay until they are due: %s", error)
        finally:
            admin.close()

    def _withdrawn(self, messages: Sequence[Message]) -> list[Message | None]:
        return conclude_withdrawn(self._app, messages)
