"""Our side: the same tasks. Broker and results are told by our environment variables."""

from __future__ import annotations

import os

from celeriac import Celeriac
from tests.interop.functions import QUEUE_VARIABLE, register

app = Celeriac("interop", task_default_queue=os.environ.get(QUEUE_VARIABLE, "celery"))
register(app)
