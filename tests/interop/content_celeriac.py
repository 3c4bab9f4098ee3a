"""Our side of those tests: the app for our worker and for the program that sends."""

from __future__ import annotations

import os
from typing import Any

from celeriac import Celeriac
from tests.interop.content_tasks import register, settings
from tests.interop.functions import QUEUE_TYPE_VARIABLE, QUEUE_VARIABLE


def make(**given: Any) -> Celeriac:
    """Return an app with the tasks."""
    app = Celeriac("content", set_as_current=False, **given)
    register(app)
    return app


app = make(
    task_default_queue=os.environ.get(QUEUE_VARIABLE, "celery"),
    task_default_queue_type=os.environ.get(QUEUE_TYPE_VARIABLE, "classic"),
    **settings(),
)
