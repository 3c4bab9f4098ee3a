"""Results of tasks: Celery's names."""

from __future__ import annotations

from celeriac.client.result import AsyncResult, EagerResult
from celeriac.client.result_base import ResultBase

__all__ = ["AsyncResult", "EagerResult", "ResultBase"]
