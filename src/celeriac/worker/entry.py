"""What the core knows of one claimed message while it is its own."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from celeriac.core.message import Delivery, Message
from celeriac.core.outcome import Ending


class Entry(Struct, eq=False):
    """A claimed message on its way through the worker.

    It is in exactly one place: held by dispatch, given to an executor, or with the settler.
    """

    delivery: Delivery
    message: Message
    kind: str
    """The kind of executor it needs."""
    time_limit_s: float | None
    crashes: int
    held_since: float
    """Monotonic seconds, when it was claimed or taken back: for giving back what finds no slot."""
    ending: Ending | None = None
    """Set when it is over already and an executor only has to conclude it."""
    older_tags: list[Any] = []
    """Tags of the same message from before a connection was lost and it was delivered again."""
    started_at: float = 0.0
    """Monotonic seconds, as far as the core can tell."""

    @property
    def key(self) -> tuple[str, int]:
        """What makes two deliveries the same run of the same task."""
        return self.message.id, self.message.headers.get("retries") or 0
