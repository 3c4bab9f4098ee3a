"""`app.log`: where the records of a worker's processes go, and in which form."""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, TextIO

from celeriac.client import signals
from celeriac.client.log_format import (
    TASK_FORMAT,
    TEXT_FORMAT,
    ColorFormatter,
    JsonFormatter,
    TaskFilter,
    TaskFormatter,
)
from celeriac.client.log_handlers import Target, make_handler
from celeriac.client.stdio import LoggingProxy

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac

BASE: Final = "celeriac"
TASK: Final = "celeriac.task"
REDIRECTED: Final = "celeriac.redirected"


class Logging:
    """`app.log`, with Celery's methods.  Called in the main thread at the start of a worker's process."""

    def __init__(self, app: Celeriac) -> None:
        self._app = app
        self.already_setup = False
        self._index = 0
        self._asked: dict[str, Any] = {}
        self._made: list[tuple[logging.Logger, logging.Handler]] = []
        """What was made here, and is made anew in an executor with a log file of its own."""
        self._before: list[tuple[logging.Logger, list[logging.Handler]]] = []
        """The handlers that were there before."""

    def setup(
        self,
        loglevel: int | str | None = None,
        logfile: Target = None,
        redirect_stdouts: bool = False,
        redirect_level: int | str = "WARNING",
        colorize: bool | None = None,
        hostname: str | None = None,
    ) -> bool:
        """Set up everything; True when a receiver of the signal `setup_logging` has done it instead.

        Args:
            loglevel: number or name; None: WARNING.
            logfile: a file's name, in which `%n`, `%h`, `%d`, `%p`, `%i` and `%I` are replaced; None: standard error.
            redirect_stdouts: log what is printed, with `redirect_level`.
            colorize: None: as the settings say, else on terminals.
            hostname: the worker's node name.

        Raises `OSError` for a file that cannot be written.  Idempotent.
        """
        handled = self.setup_logging_subsystem(loglevel, logfile, colorize=colorize, hostname=hostname)
        if not handled and redirect_stdouts:
            self.redirect_stdouts(redirect_level)
        logging.captureWarnings(True)
        return handled

    def setup_logging_subsystem(
        self,
        loglevel: int | str | None = None,
        logfile: Target = None,
        format: str | None = None,
        colorize: bool | None = None,
        hostname: str | None = None,
        datefmt: str | None = None,
        **_more: Any,
    ) -> bool:
        """Configure the root logger and the loggers of tasks, once per process; see `setup`."""
        if self.already_setup:
            return False
        settings = self._app.settings
        self._asked = {"loglevel": loglevel, "logfile": logfile, "format": format, "colorize": colorize}
        self._asked |= {"hostname": hostname, "datefmt": datefmt}
        level = level_of(loglevel)
        target = file_name(logfile, hostname, self._index) if isinstance(logfile, str | os.PathLike) else logfile
        colors = self.supports_color(colorize, target)
        text = format or settings.worker_log_format or TEXT_FORMAT
        said = {"loglevel": level, "logfile": target, "format": text, "colorize": colors}
        self.already_setup = True
        drop_first_handlers()
        if signals.setup_logging.receivers:
            signals.setup_logging.send(None, **said)
            return True
        enable_our_loggers()
        root = logging.getLogger()
        if settings.worker_hijack_root_logger:
            for name in (None, BASE, TASK, REDIRECTED):
                logging.getLogger(name).handlers[:] = []
        ours = [logging.getLogger(name) for name in (None, BASE, TASK, REDIRECTED)]
        self._before = [(logger, logger.handlers[:]) for logger in ours]
        self.setup_handlers(root, target, text, colors, datefmt=datefmt or settings.worker_log_datefmt)
        root.setLevel(level)
        signals.after_setup_logger.send(None, logger=root, **said)
        self.setup_task_loggers(level, target, colorize=colors)
        self._name_tasks()
        return False

    def setup_executor(self, index: int) -> None:
        """Log to a file of this executor's own, where the file's name says so; `index` counts a worker's executors from 1."""
        logfile = self._asked.get("logfile")
        if isinstance(logfile, str) and ("%i" in logfile or "%I" in logfile) and self._made:
            for logger, handlers in self._before:  # receivers of our signals have added some, and will again
                logger.handlers[:] = handlers
            for _logger, handler in self._made:
                handler.close()
            self._made = []
            self._index, self.already_setup = index, False
            self.setup_logging_subsystem(**self._asked)

    def setup_task_loggers(
        self,
        loglevel: int | str | None = None,
        logfile: Target = None,
        format: str | None = None,
        colorize: bool | None = None,
        propagate: bool = False,
        datefmt: str | None = None,
        **_more: Any,
    ) -> logging.Logger:
        """Configure `celeriac.task`, under which every logger of `get_task_logger` stands, and return it."""
        settings = self._app.settings
        level = level_of(loglevel)
        colors = self.supports_color(colorize, logfile)
        text = format or settings.worker_task_log_format or TASK_FORMAT
        logger = logging.getLogger(TASK)
        root = logging.getLogger()
        made = [handler for _, handler in self._made]
        if not settings.worker_hijack_root_logger and has_handlers(root, but=made) and not has_handlers(logger):
            propagate = True  # the program's own handlers are to get what tasks log
        else:
            self.setup_handlers(
                logger,
                logfile,
                text,
                colors,
                formatter=TaskFormatter,
                datefmt=datefmt or settings.worker_task_log_datefmt or settings.worker_log_datefmt,
            )
        logger.setLevel(level)
        logger.propagate = propagate
        signals.after_setup_task_logger.send(
            None, logger=logger, loglevel=level, logfile=logfile, format=text, colorize=colors
        )
        return logger

    def setup_handlers(
        self,
        logger: logging.Logger,
        logfile: Target,
        format: str,
        colorize: bool,
        formatter: type[ColorFormatter] = ColorFormatter,
        datefmt: str | None = None,
        **_more: Any,
    ) -> logging.Logger:
        """Give a logger that has none a handler, and return the logger."""
        if not has_handlers(logger):
            handler = make_handler(logfile)
            json = self._app.settings.worker_log_json
            handler.setFormatter(JsonFormatter() if json else formatter(format, use_color=colorize, datefmt=datefmt))
            handler.addFilter(TaskFilter())
            logger.addHandler(handler)
            self._made.append((logger, handler))
        return logger

    @staticmethod
    def _name_tasks() -> None:
        """Have every handler that is there, the program's own as well, see the task's name and id in each record."""
        for name in (None, BASE, TASK, REDIRECTED):
            for handler in logging.getLogger(name).handlers:
                if not any(isinstance(known, TaskFilter) for known in handler.filters):
                    handler.addFilter(TaskFilter())

    def redirect_stdouts(self, loglevel: int | str | None = None, name: str = REDIRECTED) -> None:
        """Log what is printed, by the logger `name`."""
        self.redirect_stdouts_to_logger(logging.getLogger(name), loglevel=loglevel)

    def redirect_stdouts_to_logger(
        self, logger: logging.Logger, loglevel: int | str | None = None, stdout: bool = True, stderr: bool = True
    ) -> LoggingProxy:
        """Put a stream that logs in the place of `sys.stdout` and `sys.stderr`, and return it.

        The file descriptors stay as they are: what C code writes is not lost, and not logged.
        """
        proxy = LoggingProxy(logger, loglevel, sys.__stdout__ if not stderr else None)
        if stdout:
            sys.stdout.flush()
            sys.stdout = proxy
        if stderr:
            sys.stderr = proxy
        return proxy

    @staticmethod
    def restore_stdouts() -> None:
        """Put the streams back that were there before. Idempotent."""
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            if isinstance(stream, LoggingProxy):
                stream.flush()
                setattr(sys, name, getattr(sys, f"__{name}__"))

    def supports_color(self, colorize: bool | None = None, logfile: Target = None) -> bool:
        """Tell whether to use colours: only on a terminal, and not where the setting, `colorize` or NO_COLOR forbid it."""
        wanted = self._app.settings.worker_log_color if colorize is None else colorize
        if wanted is False or logfile is not None or os.environ.get("NO_COLOR"):
            return False
        stream = sys.__stderr__
        return stream is not None and not stream.closed and stream.isatty()

    def get_default_logger(self, name: str = BASE, **_more: Any) -> logging.Logger:
        """Return a logger of ours."""
        return logging.getLogger(name)


def level_of(level: int | str | None) -> int:
    """Return a level as a number; None is WARNING. Raises `ValueError` for a name that is none."""
    if not level:
        return logging.WARNING
    if isinstance(level, int):
        return level
    levels = logging.getLevelNamesMapping()
    if level.upper() not in levels:
        raise ValueError(f"there is no log level {level!r}; there are {', '.join(levels)}")
    return levels[level.upper()]


def has_handlers(logger: logging.Logger, but: Sequence[logging.Handler] = ()) -> bool:
    """Tell whether somebody has given this logger a handler that does something, and is not one of `but`."""
    return any(not isinstance(handler, logging.NullHandler) and handler not in but for handler in logger.handlers)


def enable_our_loggers() -> None:
    """Undo what `logging.config` does to loggers that exist before a program configures logging: it switches them off, unless told not to."""
    for name, logger in logging.getLogger().manager.loggerDict.items():
        if isinstance(logger, logging.Logger) and (name == BASE or name.startswith(f"{BASE}.")):
            logger.disabled = False


class FirstHandler(logging.StreamHandler[TextIO]):
    """Writes to standard error until the app is there and says how to log."""


def add_first_handler(level: int, formatter: logging.Formatter) -> None:
    """Log what Celeriac itself has to say before the app is there.

    Not by the root logger: a program that calls `logging.basicConfig` would find it configured.
    """
    drop_first_handlers()
    handler = FirstHandler(sys.stderr)
    handler.setFormatter(formatter)
    ours = logging.getLogger(BASE)
    ours.addHandler(handler)
    ours.setLevel(level)


def drop_first_handlers() -> None:
    """Remove what logged until now."""
    ours = logging.getLogger(BASE)
    if any(isinstance(handler, FirstHandler) for handler in ours.handlers):
        ours.handlers[:] = [handler for handler in ours.handlers if not isinstance(handler, FirstHandler)]
        ours.setLevel(logging.NOTSET)


def file_name(template: str | os.PathLike[str], hostname: str | None, index: int = 0) -> str:
    """Replace `%n` (name of the node), `%h` (its host), `%d` (the host's domain), `%p` (the full node name), `%i` (`index` of the
    executor, 0 for the core) and `%I` (the same with a hyphen before it, nothing for the core) in a file's name.
    """
    text = os.fspath(template)
    if "%" not in text:
        return text
    node, _, host = (hostname or "").partition("@")
    host = host or socket.gethostname()
    parts = {
        "n": node or host.partition(".")[0],
        "h": host,
        "d": host.partition(".")[2],
        "p": hostname or f"{node}@{host}",
        "i": str(index),
        "I": f"-{index}" if index else "",
        "%": "%",
    }
    made, rest = "", text
    while rest:
        before, found, rest = rest.partition("%")
        made += before
        if found:
            made += parts.get(rest[:1], "%" + rest[:1])
            rest = rest[1:]
    return made
