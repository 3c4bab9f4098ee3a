"""A board in a SQLite file, for the processes of one machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from celeriac.core.boards import Move
from celeriac.exceptions import CoordinationUnavailable
from celeriac.transports.sqlite.boards import read_board, write_board
from celeriac.transports.sqlite.location import path_of
from celeriac.transports.sqlite.shared import SharedDatabase


class SqliteBoard:
    """Keeps a board in a file, for as long as there is the file. Thread-safe, fork-safe, blocking; see `Board`."""

    def __init__(self, url: str, name: str) -> None:
        """Raises `ImproperlyConfigured` for a URL that names no file."""
        self._name = name
        self._database = SharedDatabase(path_of(url), CoordinationUnavailable)

    def read(self, timeout_s: float) -> Mapping[str, str]:
        """See `Board.read`."""
        return self._database.read(lambda connection: read_board(connection, self._name), timeout_s)

    def write(self, moves: Sequence[Move], timeout_s: float) -> list[bool]:
        """See `Board.write`; all the moves are one transaction."""
        if not moves:
            return []
        return self._database.write(lambda connection: write_board(connection, self._name, moves), timeout_s)

    def close(self) -> None:
        """Close the connection; idempotent."""
        self._database.close()
