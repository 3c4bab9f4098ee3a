"""Boards in Redis, as the broker's side and the scheduler's both know them."""

from __future__ import annotations

from celeriac.core.boards import Move
from celeriac.transports.redis.protocol import Word


def board_key(prefix: str, name: str) -> str:
    """Return the key of a board, a hash."""
    return f"{prefix}celeriac:board:{name}"


def move_words(move: Move) -> list[Word]:
    """Return a move as the scripts take it."""
    before, after = move.before, move.after
    return [move.field, int(before is not None), before or "", int(after is not None), after or ""]
