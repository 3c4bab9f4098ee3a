"""The disabled backend: no results anywhere."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from typing import Final

from celeriac.backends.uncounted import UncountedReader, UncountedWriter
from celeriac.core.effects import Record

_SHOWN: Final = "disabled://"


class DisabledReader(UncountedReader):
    """Finds nothing and stores nothing."""

    shown = _SHOWN

    def fetch(self, ids: Sequence[str]) -> dict[str, bytes]:
        """Return nothing."""
        return {}

    def store(self, records: Sequence[Record]) -> None:
        """Drop the records."""

    def forget(self, ids: Sequence[str]) -> None:
        """There is nothing to forget."""

    def close(self) -> None:
        """There is nothing to close."""


class DisabledListener:
    """Never tells anything."""

    reply_to: str | None = None

    async def open(self, deliver: Callable[[str, bytes], None]) -> None:
        """There is nothing to connect to."""

    async def watch(self, ids: Collection[str]) -> None:
        """There will be nothing to see."""

    async def unwatch(self, ids: Collection[str]) -> None:
        """Nothing was watched."""

    async def run(self) -> None:
        """Wait until cancelled."""
        await asyncio.get_running_loop().create_future()

    async def close(self) -> None:
        """There is nothing to close."""


class DisabledWriter(UncountedWriter):
    """Stores nothing."""

    shown = _SHOWN

    async def store(self, records: Sequence[Record]) -> None:
        """Drop the records."""

    async def close(self) -> None:
        """There is nothing to close."""


class DisabledBackend:
    """What `disabled://` opens."""

    stores = False
    counts_chords = False

    def reader(self) -> DisabledReader:
        """Return a reader that finds nothing."""
        return DisabledReader()

    def listener(self) -> DisabledListener:
        """Return a listener that hears nothing."""
        return DisabledListener()

    def writer(self) -> DisabledWriter:
        """Return a writer that stores nothing."""
        return DisabledWriter()

    def shown_url(self) -> str:
        """Return the URL."""
        return _SHOWN
