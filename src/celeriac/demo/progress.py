"""Where the run stands, read from the results and from nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec import Struct

from celeriac.core import states
from celeriac.core.ports import ResultReader
from celeriac.wire.result_meta import ResultMeta, decode

BATCH = 500
"""How many results are asked for at once."""


class Job(Struct, frozen=True):
    """One call that was sent."""

    id: str
    subject: str
    """The file's path, or the page's address."""
    is_file: bool


class Tally:
    """Duties: 1. read the results of all calls, each until it is final; 2. count them."""

    def __init__(self, reader: ResultReader, jobs: Sequence[Job]) -> None:
        self.jobs = jobs
        self.ended: dict[str, ResultMeta] = {}
        self._reader = reader
        self._waiting = {job.id: job for job in jobs}

    def look(self) -> None:
        """Read what has ended since the last look."""
        ids = list(self._waiting)
        for start in range(0, len(ids), BATCH):
            for task_id, document in self._reader.fetch(ids[start : start + BATCH]).items():
                meta = decode(document)
                if meta.status in states.READY_STATES:
                    self.ended[task_id] = meta
                    del self._waiting[task_id]

    @property
    def complete(self) -> bool:
        """Whether every call has ended."""
        return not self._waiting

    def missing(self) -> list[Job]:
        """Return the calls that have not ended."""
        return list(self._waiting.values())

    def failures(self) -> Iterator[tuple[Job, object]]:
        """Yield the calls that failed, and their errors."""
        for job in self.jobs:
            meta = self.ended.get(job.id)
            if meta is not None and meta.status != states.SUCCESS:
                yield job, meta.result

    def values(self, *, files: bool) -> Iterator[tuple[Job, dict[str, object]]]:
        """Yield what the calls that succeeded returned, for files or for pages."""
        for job in self.jobs:
            meta = self.ended.get(job.id)
            if job.is_file is files and meta is not None and meta.status == states.SUCCESS:
                yield job, meta.result

    def count(self, *, files: bool) -> int:
        """Return how many calls have ended, for files or for pages."""
        return sum(job.is_file is files and job.id in self.ended for job in self.jobs)
