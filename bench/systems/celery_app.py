"""The app that a Celery worker imports; broker and results are told by the environment."""

from __future__ import annotations

import json
import os

from celery import Celery

from bench.runs import SETTINGS_VARIABLE
from bench.tasks import QUEUE, register

app = Celery("bench")
app.conf.update(
    task_default_queue=QUEUE,
    broker_connection_retry_on_startup=True,
    **json.loads(os.environ[SETTINGS_VARIABLE]),
)
register(app)
