"""How a worker's processes log: at first to standard error, then as the app's settings say."""

from __future__ import annotations

import logging

from celeriac.client.app import Celeriac
from celeriac.client.log_format import TEXT_FORMAT, JsonFormatter
from celeriac.client.log_setup import add_first_handler


def configure_logging(level: int, *, as_json: bool) -> None:
    """Send what Celeriac itself logs to standard error until the app is there. Called once per process."""
    add_first_handler(level, JsonFormatter() if as_json else logging.Formatter(TEXT_FORMAT))


def set_up_logging(app: Celeriac, level: int, logfile: str | None, hostname: str) -> bool:
    """Log as the app's settings say; True when the app does that itself, by the signal `setup_logging`.

    Raises `OSError` for a file that cannot be written.
    """
    return app.log.setup(level, logfile, hostname=hostname)


def log_printed(app: Celeriac) -> None:
    """Have what is printed from now on logged, where the settings say so."""
    if app.settings.worker_redirect_stdouts:
        app.log.redirect_stdouts(app.settings.worker_redirect_stdouts_level)
