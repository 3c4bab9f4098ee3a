"""Celery's side: an app as Celery's users write it. Broker and results are told by Celery's own environment variables."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery

from tests.interop.functions import QUEUE_TYPE_VARIABLE, QUEUE_VARIABLE, register


def make_app(**settings: Any) -> Any:
    """An app with these settings besides those of the environment."""
    app = Celery("interop", set_as_current=False)
    queue_type = os.environ.get(QUEUE_TYPE_VARIABLE, "classic")
    app.conf.update(
        task_default_queue_type=queue_type,
        task_create_missing_queue_type=queue_type,  # of queues that are named by -Q only
        broker_connection_retry_on_startup=True,
        task_default_queue=os.environ.get(QUEUE_VARIABLE, "celery"),
        **settings,
    )
    register(app)
    return app


app = make_app()
