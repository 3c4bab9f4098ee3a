"""How a worker's processes log: one line a record on standard error, or JSON."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Final

from celeriac.client.context import current_request

TEXT_FORMAT: Final = "[%(asctime)s: %(levelname)s/%(processName)s] %(message)s"


class JsonFormatter(logging.Formatter):
    """Writes one JSON object a line, with the running task's name and id where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as JSON text."""
        entry: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname,
            "logger": record.name,
            "pid": record.process,
            "message": record.getMessage(),
        }
        request = current_request.get()
        if request is not None:
            entry["task"], entry["task_id"] = request.task, request.id
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False, default=str)


def configure_logging(level: int, *, as_json: bool) -> None:
    """Send the root logger's records to standard error. Called once per process of a worker that has its own processes."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if as_json else logging.Formatter(TEXT_FORMAT))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
