"""A board: small named texts on which a cluster agrees, each changed only by who knows what stands there. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from msgspec import Struct

BOARD_KEPT_S: Final = 400 * 86_400
"""A board in Redis that nobody writes to for so long is forgotten; whoever works by it writes more often."""


class Move(Struct, frozen=True):
    """Writes `after` where `before` stands; None: nothing."""

    field: str
    before: str | None
    after: str | None


class Board(Protocol):
    """Keeps texts under names. Thread-safe, blocking; raises `OperationalError` when its place is away."""

    def read(self, timeout_s: float) -> Mapping[str, str]:
        """Return everything that stands there."""

    def write(self, moves: Sequence[Move], timeout_s: float) -> list[bool]:
        """Make the moves, each as one step, and tell which were made: where something else stood, nothing is changed.

        After an error it is not known which were made.  To write no moves at all keeps a board from being
        forgotten, see `BOARD_KEPT_S`.
        """

    def close(self) -> None:
        """Close the connections; idempotent."""
