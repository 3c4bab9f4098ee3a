"""Documents of rows, whoever has written them."""

from __future__ import annotations

from typing import Any

from celeriac.backends.sqlalchemy.foreign import CeleryRows
from celeriac.backends.sqlalchemy.rows import own_document
from celeriac.core.settings import Settings


class Documents:
    """Reads rows by the settings of who reads. Thread-safe."""

    def __init__(self, settings: Settings) -> None:
        self._celery = CeleryRows(settings)

    def of_task(self, row: Any) -> bytes:
        """Return the document of a task."""
        own = own_document(row, row.status)
        return self._celery.task_document(row, row.task_id) if own is None else own

    def of_group(self, row: Any) -> bytes:
        """Return the document of a saved group. Raises `DecodeError` and `ContentDisallowed` for one of Celery's."""
        own = own_document(row, "")
        return self._celery.group_document(row) if own is None else own
