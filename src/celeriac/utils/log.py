"""Loggers for tasks, and how their records are written: Celery's `utils.log`.

    logger = get_task_logger(__name__)

    @app.task
    def add(x, y):
        logger.info("adding %s and %s", x, y)

How a worker is set up to log stands in `app.log`.
"""

from __future__ import annotations

import logging
from typing import Final

from celeriac.client.log_format import ColorFormatter, JsonFormatter, TaskFilter, TaskFormatter
from celeriac.client.log_setup import BASE, TASK, level_of
from celeriac.client.stdio import LoggingProxy

__all__ = [
    "LOG_LEVELS",
    "ColorFormatter",
    "JsonFormatter",
    "LoggingProxy",
    "TaskFilter",
    "TaskFormatter",
    "base_logger",
    "get_logger",
    "get_task_logger",
    "mlevel",
    "task_logger",
    "worker_logger",
]

LOG_LEVELS: Final[dict[int | str, int | str]] = dict(logging.getLevelNamesMapping()) | {
    number: logging.getLevelName(number) for number in logging.getLevelNamesMapping().values()
}
"""Names of levels by their numbers, and the other way round."""

base_logger: Final = logging.getLogger(BASE)
task_logger: Final = logging.getLogger(TASK)
worker_logger: Final = logging.getLogger("celeriac.worker")


def get_logger(name: str) -> logging.Logger:
    """Return the logger `name`, under `celeriac` if it stood right under the root. Idempotent, thread-safe."""
    logger = logging.getLogger(name)
    if logger.parent is logging.root and logger is not base_logger:
        logger.parent = base_logger
    return logger


def get_task_logger(name: str) -> logging.Logger:
    """Return the logger `name` for a module with tasks: what it logs is written with the task's name and id.

    It stands under `celeriac.task`, whose handlers and level it has.  Idempotent, thread-safe.  Raises `RuntimeError` for the names
    of our own loggers.
    """
    if name in (BASE, TASK):
        raise RuntimeError(f"the logger name {name!r} is reserved: use the module's name, get_task_logger(__name__)")
    logger = logging.getLogger(name)
    if not _is_under(logger, task_logger):
        logger.parent = task_logger
    return logger


def mlevel(level: int | str | None) -> int | None:
    """Return a level as a number, None and 0 as they are. Raises `ValueError` for a name that is none."""
    return level_of(level) if level else level  # type: ignore[return-value]  # the empty text is nobody's level


def _is_under(logger: logging.Logger, ancestor: logging.Logger) -> bool:
    above: logging.Logger | None = logger
    while above is not None:
        if above is ancestor:
            return True
        above = above.parent
    return False
