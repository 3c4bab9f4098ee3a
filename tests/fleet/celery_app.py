"""Celery's side: the tasks of `tests.interop`, in an app whose pools may be restarted."""

from __future__ import annotations

from tests.interop.celery_app import make_app

app = make_app(worker_pool_restarts=True)
