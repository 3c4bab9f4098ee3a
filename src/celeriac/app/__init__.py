"""The app and what belongs to it, where Celery's programs import it from."""

from __future__ import annotations

from celeriac.client.app import Celeriac, Celery
from celeriac.client.current import get_current_app
from celeriac.client.shared import shared_task

__all__ = ["Celeriac", "Celery", "app_or_default", "shared_task"]


def app_or_default(app: Celeriac | None = None) -> Celeriac:
    """Return the app, or the current one for None. Raises `ImproperlyConfigured` when there is none."""
    return app if app is not None else get_current_app()
