"""What settings are and were called: Celery's names before version 4, families of names, and the nearest name to a wrong one."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable
from typing import Final

_OLD_PREFIXES: Final = (
    ("task_", "CELERY_"),
    ("worker_", "CELERYD_"),
    ("beat_", "CELERYBEAT_"),
    ("broker_", "BROKER_"),
    ("result_", "CELERY_RESULT_"),
    ("event_", "CELERY_EVENT_"),
    ("redis_", "CELERY_REDIS_"),
    ("security_", "CELERY_SECURITY_"),
    ("cache_", "CELERY_CACHE_"),
    ("couchbase_", "CELERY_COUCHBASE_"),
    ("arangodb_", "CELERY_ARANGODB_"),
    ("mongodb_", "CELERY_MONGODB_"),
    ("elasticsearch_", "CELERY_ELASTICSEARCH_"),
    ("", "CELERY_"),
)
_OLD_IRREGULAR: Final = {
    "CELERYD_TASK_SOFT_TIME_LIMIT": "task_soft_time_limit",
    "CELERYD_TASK_TIME_LIMIT": "task_time_limit",
    "CELERYD_WORKER_LOST_WAIT": "worker_lost_wait",
    "CELERY_DISABLE_RATE_LIMITS": "worker_disable_rate_limits",
    "CELERY_EAGER_PROPAGATES_EXCEPTIONS": "task_eager_propagates",
    "CELERY_ENABLE_REMOTE_CONTROL": "worker_enable_remote_control",
    "CELERY_MAX_CACHED_RESULTS": "result_cache_max",
    "CELERY_MESSAGE_COMPRESSION": "task_compression",
    "CELERY_REDIRECT_STDOUTS": "worker_redirect_stdouts",
    "CELERY_REDIRECT_STDOUTS_LEVEL": "worker_redirect_stdouts_level",
    "CELERY_RESULT_DBURI": "database_url",
    "CELERY_RESULT_DB_SHORT_LIVED_SESSIONS": "database_short_lived_sessions",
    "CELERY_RESULT_DB_TABLENAMES": "database_table_names",
    "CELERY_RESULT_DB_TABLE_NAMES": "database_table_names",
    "CELERY_RESULT_ENGINE_OPTIONS": "database_engine_options",
    "CELERY_SEND_EVENTS": "worker_send_task_events",
    "CELERY_SEND_TASK_SENT_EVENT": "task_send_sent_event",
    "CELERY_TASK_PROTOCOL": "task_protocol",
    "CELERY_TASK_PUBLISH_RETRY": "task_publish_retry",
    "CELERY_TASK_PUBLISH_RETRY_POLICY": "task_publish_retry_policy",
    "CELERY_TASK_RESULT_EXPIRES": "result_expires",
    "CELERY_TASK_SERIALIZER": "task_serializer",
    "CELERY_WORKER_DIRECT": "worker_direct",
    "CELERY_CHORD_PROPAGATES": "",
    "CELERY_SEND_TASK_ERROR_EMAILS": "",
    "CELERY_TASK_ERROR_WHITELIST": "",
    "CELERYD_FORCE_EXECV": "",
    "CELERYD_LOG_FILE": "",
    "CELERYD_LOG_LEVEL": "",
    "CELERYBEAT_LOG_FILE": "",
    "CELERYBEAT_LOG_LEVEL": "",
}
"""Celery's old names that no rule gives. Empty: Celery itself has dropped the setting, and ignores it."""

FAMILIES: Final = ("beat_", "broker_", "control_", "event_", "result_", "security_", "task_", "worker_")
"""A name that begins so is meant as a setting."""

OLD_FAMILIES: Final = ("CELERY_", "CELERYD_", "CELERYBEAT_")

_NEAR: Final = 0.82
"""From this likeness on a name that is no setting is taken for one that was misspelt."""


def old_names(names: Iterable[str]) -> dict[str, str]:
    """Return Celery's names before version 4 for these settings: old -> new, empty for those that Celery has dropped."""
    found = dict(_OLD_IRREGULAR)
    irregular = frozenset(_OLD_IRREGULAR.values())
    for name in names:
        if name in irregular:
            continue  # CELERY_SERIALIZER never was a setting
        for family, prefix in _OLD_PREFIXES:
            if name.startswith(family):
                found[prefix + name.removeprefix(family).upper()] = name
                break
    return found


def nearest(name: str, known: Collection[str], likeness: float = 0.6) -> str | None:
    """Return the known name that is most like `name`, None when none is."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=likeness)
    return near[0] if near else None


def is_misspelt(name: str, known: Collection[str]) -> bool:
    """Tell whether a name that is no setting was meant as one: it begins as settings do, or is very much like one.

    Names in upper case are a program's own, as long as they do not begin with Celery's name.
    """
    if name.startswith((*FAMILIES, *OLD_FAMILIES)):
        return True
    return not name.isupper() and nearest(name, known, _NEAR) is not None


def unknown_names(names: Iterable[str], known: Collection[str], prefix: str = "") -> str:
    """Return the text of the error for names that are no settings, each with the nearest that is one.

    `prefix` stands before each name, as the namespace of a source does; it does not make names more alike.
    """
    wrong = sorted(names)
    parts = []
    for name in wrong:
        near = nearest(name.removeprefix(prefix).lower() if prefix else name, known)
        right = repr(prefix + (near.upper() if prefix.isupper() else near)) if near else ""
        parts.append(f"{name!r} (did you mean {right}?)" if right and len(wrong) > 1 else repr(name))
        if right and len(wrong) == 1:
            return f"unknown setting {name!r}; did you mean {right}?"
    return f"unknown setting{'s' if len(wrong) > 1 else ''} {', '.join(parts)}"
