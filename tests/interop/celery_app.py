"""Celery's side: an app as Celery's users write it. Broker and results are told by Celery's own environment variables."""

from __future__ import annotations

import json
import os
from typing import Any

from celery import Celery

from tests.interop.functions import CELERY_SETTINGS_VARIABLE, QUEUE_VARIABLE, register


def make_app(**settings: Any) -> Any:
    """An app with these settings besides those of the environment."""
    app = Celery("interop", set_as_current=False)
    app.conf.update(
        broker_connection_retry_on_startup=True,
        task_default_queue=os.environ.get(QUEUE_VARIABLE, "celery"),
        **json.loads(os.environ.get(CELERY_SETTINGS_VARIABLE, "{}")),
        **settings,
    )
    register(app)
    return app


app = make_app()
