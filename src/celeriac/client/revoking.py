"""Revocations as our workers keep them: in the broker, where those that start later find them, too."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from celeriac.client.signing import sign_revocations
from celeriac.client.withdrawing import conclude_withdrawn
from celeriac.core.message import Revocation
from celeriac.core.revoking import stamp_id
from celeriac.exceptions import ArgumentError, CeleriacError

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac

logger = logging.getLogger("celeriac.control")


def checked_ids(task_id: str | Iterable[str]) -> list[str]:
    """Return ids of tasks, each once. Raises `ArgumentError` for what is none."""
    ids = [task_id] if isinstance(task_id, str) else list(task_id)
    for one in ids:
        if not isinstance(one, str) or not one:
            raise ArgumentError(f"revoke() takes ids of tasks, which are texts, not {one!r:.80}")
    return list(dict.fromkeys(ids))


def ids_of_stamps(headers: Mapping[str, Any]) -> list[str]:
    """Return the ids under which tasks with these stamps are revoked. Raises `ArgumentError` for what is no stamp."""
    if not isinstance(headers, Mapping):
        raise ArgumentError(f"revoke_by_stamped_headers() takes a dict of stamps, not {headers!r:.80}")
    return [
        stamp_id(name, value)
        for name, values in headers.items()
        for value in (values if isinstance(values, list | tuple | set | frozenset) else (values,))
    ]


def revocations_of(app: Celeriac, ids: Sequence[str], *, terminate: bool, signal: str) -> list[Revocation]:
    """Return what says that these tasks are revoked from now on, for `task_revoke_expires_s`."""
    expires_at = app.time_source.time() + app.settings.task_revoke_expires_s
    return [Revocation(one, expires_at, terminate, signal) for one in dict.fromkeys(ids)]


def keep_revocations(app: Celeriac, revocations: Sequence[Revocation]) -> None:
    """Keep revocations in the broker, signed where this app signs, and take what is delayed out of the delay, where it can.

    Idempotent, blocking.  Raises `BrokerUnavailable`.
    """
    if not revocations:
        return
    revocations = sign_revocations(app, revocations)
    admin = app.broker.admin()
    try:
        admin.revoke(revocations)
        try:
            admin.withdraw_delayed(revocations, partial(conclude_withdrawn, app), app.settings.publish_timeout_s)
        except CeleriacError as error:
            # It is revoked all the same: what could not be taken out of the delay is refused when it is due.
            logger.warning("revoked tasks stay in their delay until they are due: %s", error)
    finally:
        admin.close()
