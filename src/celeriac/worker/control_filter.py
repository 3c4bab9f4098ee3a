"""Which of the wishes that are set at run time a worker heeds: all, only signed ones, or none."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from celeriac.client.signing import holds_rate, holds_request, holds_revocation, plain_rate

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac
    from celeriac.core.message import Message, Revocation

logger = logging.getLogger("celeriac.worker")


class ControlFilter:
    """Passes on what may be heeded, counts what is ignored, and says so once."""

    def __init__(self, app: Celeriac) -> None:
        self._app = app
        self.ignored = 0
        """How many revocations, rates and requests were not heeded."""
        self._seen: dict[str, float] = {}
        """Of signed requests, so that a copy is recognised."""

    def revocations(self, given: Sequence[Revocation]) -> Sequence[Revocation]:
        """Return those revocations that may be heeded."""
        if not given:
            return given
        if not self._app.settings.worker_enable_remote_control:
            self._ignore(len(given), "revocations are refused, worker_enable_remote_control is off")
            return []
        if not self._app.content.requires_signatures:
            return given
        heeded = [one for one in given if holds_revocation(self._app, one)]
        self._ignore(
            len(given) - len(heeded), "a revocation is ignored: it is not signed by a key of security_hmac_key"
        )
        return heeded

    def request(self, letter: Message) -> bool:
        """Tell whether a request that changes something may be heeded."""
        if not self._app.content.requires_signatures:
            return True
        if holds_request(self._app, letter, self._seen):
            return True
        self._ignore(1, "a request by remote control is refused: it is not signed by a key of security_hmac_key")
        return False

    def rates(self, kept: Mapping[str, str]) -> dict[str, str]:
        """Return those rates that may be heeded, by task, without their signatures."""
        app = self._app
        if not app.settings.worker_enable_remote_control:
            self._ignore(len(kept), "rates set at run time are refused, worker_enable_remote_control is off")
            return {}
        required = app.content.requires_signatures
        heeded = {task: plain_rate(text) for task, text in kept.items() if not required or holds_rate(app, task, text)}
        self._ignore(len(kept) - len(heeded), "a rate is ignored: it is not signed by a key of security_hmac_key")
        return heeded

    def _ignore(self, count: int, what: str) -> None:
        if count and not self.ignored:
            logger.warning("%s; this is said once", what)
        self.ignored += count
