"""Our side: the same tasks. Broker and results are told by our environment variables."""

from __future__ import annotations

import json
import os

from celeriac import Celeriac, exceptions
from tests.canvas.functions import QUEUE_VARIABLE, SETTINGS_VARIABLE, register

app = Celeriac(
    "canvas",
    task_default_queue=os.environ.get(QUEUE_VARIABLE, "celery"),
    **json.loads(os.environ.get(SETTINGS_VARIABLE, "{}")),
)
register(app, exceptions, executor="thread")
