"""The app that a Celeriac worker imports; broker and results are told by the environment."""

from __future__ import annotations

import json
import os

from bench.runs import SETTINGS_VARIABLE
from bench.tasks import QUEUE, register
from celeriac import Celeriac

app = Celeriac("bench", **{"task_default_queue": QUEUE, **json.loads(os.environ[SETTINGS_VARIABLE])})
register(app)
