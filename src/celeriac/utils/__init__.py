"""Helpers under the names that Celery gives them."""

from __future__ import annotations

from celeriac.client.calls import new_id
from celeriac.client.naming import gen_task_name

uuid = gen_unique_id = new_id
"""Returns a new task id."""

__all__ = ["gen_task_name", "gen_unique_id", "uuid"]
