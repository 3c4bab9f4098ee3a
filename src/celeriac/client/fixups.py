"""What an app does by itself because of the program that it is in: Celery's "fixups", of which Django's is the one.

Whether Django is there is looked up when an app is made; it is imported no earlier than it is used.
"""

from __future__ import annotations

import importlib.util
import logging
import os
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac
    from celeriac.client.task import Task
    from celeriac.client.transactions import Outbox, Transactions

logger = logging.getLogger("celeriac")

DJANGO_SETTINGS: Final = "DJANGO_SETTINGS_MODULE"


class Fixup(Protocol):
    """What a framework changes in an app."""

    task_class: type[Task[Any, Any]]
    """Base of tasks that name none, in an app that names none either."""
    transactions: Transactions
    """How its database does transactions."""

    def outbox(self) -> Outbox | None:
        """Return the outbox, None where the program has not set one up."""

    def set_up(self) -> None:
        """Make the framework ready, before modules with tasks are imported. Idempotent."""

    def watch_settings(self) -> None:
        """Have the app's settings follow the framework's, should these change. Idempotent."""

    def packages(self) -> list[str]:
        """Name the packages in which tasks may be found, for `autodiscover_tasks()` without arguments."""

    def close_connections(self) -> None:
        """Close what this thread has open, also what is healthy: after this the process may be forked. Idempotent."""


def find_fixup(app: Celeriac) -> Fixup | None:
    """Return Django's fixup when the environment names Django's settings and Django is installed, else None."""
    if not os.environ.get(DJANGO_SETTINGS):
        return None
    if importlib.util.find_spec("django") is None:
        logger.warning("%s is set, but Django is not installed: it is left alone", DJANGO_SETTINGS)
        return None
    from celeriac.client.django_fixup import DjangoFixup

    return DjangoFixup(app)


def close_connections(app: Celeriac) -> None:
    """Close what importing the program has opened in this thread, so that no child shares it."""
    if app.fixup is not None:
        app.fixup.close_connections()
