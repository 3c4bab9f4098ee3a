"""Our side: the tasks of `tests.interop`, in an app whose pools may be restarted, and whose limited tasks look again soon."""

from __future__ import annotations

from tests.interop.celeriac_app import app

app.conf.worker_pool_restarts = True
app.conf.task_rate_limit_horizon_s = 0.5
