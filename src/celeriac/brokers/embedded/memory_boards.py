"""The boards of a memory broker."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence

from celeriac.core.boards import Move


class MemoryBoards:
    """All boards of one broker. Thread-safe; nothing outlives it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._boards: dict[str, dict[str, str]] = {}

    def read(self, board: str) -> Mapping[str, str]:
        """Return everything that stands on a board."""
        with self._lock:
            return dict(self._boards.get(board, {}))

    def move(self, board: str, move: Move, act: Callable[[], object] = lambda: None) -> bool:
        """Make a move, and `act` with it, or neither where something else stands; `act` must not come back here."""
        with self._lock:
            fields = self._boards.setdefault(board, {})
            if fields.get(move.field) != move.before:
                return False
            act()
            if move.after is None:
                fields.pop(move.field, None)
            else:
                fields[move.field] = move.after
            return True


class MemoryBoard:
    """One of them; see `Board`."""

    def __init__(self, boards: MemoryBoards, name: str) -> None:
        self._boards = boards
        self._name = name

    def read(self, timeout_s: float) -> Mapping[str, str]:
        """See `Board.read`; there is nothing to wait for."""
        return self._boards.read(self._name)

    def write(self, moves: Sequence[Move], timeout_s: float) -> list[bool]:
        """See `Board.write`."""
        return [self._boards.move(self._name, move) for move in moves]

    def close(self) -> None:
        """There is nothing to close."""
