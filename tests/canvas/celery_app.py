"""Celery's side: an app as Celery's users write it. Broker and results are told by Celery's own environment variables."""

from __future__ import annotations

import os

from celery import Celery, exceptions

from tests.canvas.functions import QUEUE_VARIABLE, register

app = Celery("canvas")
app.conf.update(
    task_default_queue=os.environ.get(QUEUE_VARIABLE, "celery"),
    broker_connection_retry_on_startup=True,
    task_acks_late=True,
)
register(app, exceptions)
