"""How log records are written: with the task's name and id, in colour on terminals, or as JSON."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from celeriac.client.context import running_request
from celeriac.core.printable import cut, harmless, one_line

TEXT_FORMAT: Final = "[%(asctime)s: %(levelname)s/%(processName)s] %(message)s"
TASK_FORMAT: Final = "[%(asctime)s: %(levelname)s/%(processName)s] %(task_name)s[%(task_id)s]: %(message)s"
NO_TASK: Final = "???"
"""Celery's name and id of a task where there is none."""

_RESET: Final = "\x1b[0m"
_COLOURS: Final[Mapping[int, str]] = {
    logging.DEBUG: "\x1b[1;34m",
    logging.WARNING: "\x1b[1;33m",
    logging.ERROR: "\x1b[1;31m",
    logging.CRITICAL: "\x1b[1;35m",
}
_DATA: Final[Mapping[str, str]] = {"name": "task", "id": "task_id"}
"""What our own lines call it -> what JSON calls it."""
LINE_MAX_CHARS: Final = 16_384
"""The longest message of our own loggers that is written as text."""
_PROGRAMS: Final = ("celeriac.task.", "celeriac.redirected")
"""Loggers below ours in which programs write: their texts are their own."""
_OUR_LINES: Final = frozenset({"celeriac.app.trace", "celeriac.worker.strategy"})
"""Loggers whose `data` are fields of their own."""
_OURS: Final = frozenset(
    {"time", "level", "logger", "pid", "process", "message", "task", "task_id", "traceback", "stack"}
)
_OF_EVERY_RECORD: Final = frozenset(vars(logging.makeLogRecord({}))) | {
    "message", "asctime", "taskName", "task_name", "task_id", "data"
}  # fmt: skip


def _is_ours(logger: str) -> bool:
    return logger.startswith("celeriac.") and not logger.startswith(_PROGRAMS)


def add_task(record: logging.LogRecord) -> None:
    """Give a record `task_name` and `task_id`, unless it has them: those of the task that runs here, or else `???`."""
    fields = record.__dict__
    if "task_id" in fields and "task_name" in fields:
        return
    request = running_request()
    fields.setdefault("task_name", request.task if request is not None else NO_TASK)
    fields.setdefault("task_id", request.id if request is not None else NO_TASK)


class TaskFilter(logging.Filter):
    """Gives every record that passes a handler the name and the id of the task that logs it."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass."""
        add_task(record)
        return True


class ColorFormatter(logging.Formatter):
    """Writes warnings and errors in colour; Celery's name and arguments."""

    def __init__(self, fmt: str | None = None, use_color: bool = True, datefmt: str | None = None) -> None:
        super().__init__(fmt, datefmt)
        self.use_color = use_color

    def format(self, record: logging.LogRecord) -> str:
        """Return the text of a record; one that cannot be written says so, and disturbs nobody."""
        try:
            text = super().format(record)
        except Exception as error:  # arguments that do not fit, a field that is missing, a repr that raises
            text = f"<a record of {record.name} could not be written: {type(error).__name__}: {error}; {record.msg!r:.200}>"
        colour = _COLOURS.get(record.levelno) if self.use_color else None
        return f"{colour}{text}{_RESET}" if colour else text

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name in `logging`
        """Return the line of a record; what comes from messages can neither begin a line of its own nor command a terminal."""
        if _is_ours(record.name):
            record.message = cut(one_line(record.message), LINE_MAX_CHARS)
        for field in ("task_name", "task_id"):
            if isinstance(text := record.__dict__.get(field), str):
                record.__dict__[field] = one_line(text)
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:  # noqa: N802 - the name in `logging`
        """Return the text of an exception, without what commands a terminal."""
        return harmless(super().formatException(ei))


class TaskFormatter(ColorFormatter):
    """As `ColorFormatter`, for formats with `%(task_name)s` and `%(task_id)s`; Celery's name."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the text of a record."""
        add_task(record)
        return super().format(record)


class JsonFormatter(logging.Formatter):
    """Writes one JSON object a line, in ASCII: whatever stands in a record, it is one line and valid, in every encoding.

    Fields: time, level, logger, pid, process, message; of a task: task, task_id, and where they are known retries and runtime (seconds);
    traceback, stack; and whatever the program passed as `extra`, with `extra_` before a name that is one of these.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as JSON text; a value that cannot be written is shown as text."""
        fields = self._fields(record)
        try:
            return _encode(fields)
        except Exception:  # a key that is no text, an infinite number, a dict that contains itself, a repr that raises
            return _encode(
                {name: value if type(value) in (str, int) else _shown(value) for name, value in fields.items()}
            )

    def _fields(self, record: logging.LogRecord) -> dict[str, Any]:
        add_task(record)
        try:
            message = record.getMessage()
        except Exception as error:
            message = f"<could not be written: {type(error).__name__}: {error}> {_shown(record.msg)}"
        fields: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname,
            "logger": record.name,
            "pid": record.process,
            "process": record.processName,
            "message": message,
        }
        known = record.__dict__
        if known["task_id"] != NO_TASK:
            fields["task"], fields["task_id"] = known["task_name"], known["task_id"]
        if record.name in _OUR_LINES:
            fields.update({_DATA.get(name, name): value for name, value in known.get("data", {}).items()})
        elif "data" in known:
            fields["data"] = known["data"]
        for name, value in known.items():
            if name not in _OF_EVERY_RECORD:
                fields[f"extra_{name}" if name in _OURS else name] = value
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        elif record.exc_text:
            fields["traceback"] = record.exc_text
        if record.stack_info:
            fields["stack"] = record.stack_info
        return fields


def _shown(value: object) -> str:
    try:
        return repr(value)
    except Exception as error:
        return f"<a {type(value).__name__} whose repr raises {type(error).__name__}>"


_encode: Final = json.JSONEncoder(allow_nan=False, default=_shown).encode
