"""Profiles: sets of defaults to choose from by the setting `profile`. What a program sets itself always wins."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

SAFE: Final[Mapping[str, Any]] = MappingProxyType({})
"""The defaults as the settings have them: nothing is lost, nothing hangs."""

CELERY: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "task_acks_late": False,
        "task_reject_on_worker_lost": False,
        "task_time_limit": None,
        "task_soft_time_limit": None,
        "task_retry_backoff": 0.0,
        "task_default_queue_type": "classic",
        "task_priority_direction": "celery",
        "worker_prefetch_multiplier": 4,
        "task_rate_limit_scope": "worker",
    }
)
"""What Celery does unless told otherwise, for programs that move without an audit: a crash loses what ran."""

PROFILES: Final[Mapping[str, Mapping[str, Any]]] = MappingProxyType({"safe": SAFE, "celery": CELERY})
