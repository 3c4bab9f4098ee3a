"""Results of tasks: Celery's names."""

from __future__ import annotations

from celeriac.client.result import AsyncResult, EagerResult, ResultBase

__all__ = ["AsyncResult", "EagerResult", "ResultBase"]
