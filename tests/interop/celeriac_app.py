"""Our side: the same tasks. Broker and results are told by our environment variables."""

from __future__ import annotations

import os

from celeriac import Celeriac
from tests.interop.functions import QUEUE_TYPE_VARIABLE, QUEUE_VARIABLE, register

app = Celeriac(
    "interop",
    # The numbers of messages are Celery's on each broker.
    task_priority_direction="celery",
    task_default_queue=os.environ.get(QUEUE_VARIABLE, "celery"),
    # Celery refuses to work on a queue of another type than it would make itself: where we may come first, we have to
    # make what it expects.
    task_default_queue_type=os.environ.get(QUEUE_TYPE_VARIABLE, "classic"),
)
register(app)
