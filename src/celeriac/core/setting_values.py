"""Values of settings: in which forms they are taken, and in which words their types and units are told."""

from __future__ import annotations

import json
import types
from collections.abc import Mapping
from datetime import timedelta
from functools import cache
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta, Struct

from celeriac.core.urls import scheme

SECONDS: Final = frozenset(
    {
        "beat_cron_starting_deadline", "beat_max_loop_interval", "beat_remote_control_max_tick_age",
        "broker_connection_timeout", "broker_heartbeat", "control_queue_expires", "control_queue_ttl",
        "event_queue_expires", "event_queue_ttl", "result_chord_expires",
        "result_expires", "result_failure_expires", "task_default_retry_delay",
        "task_retry_backoff", "task_retry_backoff_max", "task_soft_time_limit", "task_time_limit",
        "worker_soft_shutdown_timeout",
    }
)  # fmt: skip
"""Settings in seconds whose (Celery's) names do not say so."""

_UNITS: Final = {"_s": "seconds", "_bytes": "bytes", "_max_memory_per_child": "KiB"}

_FREE_TYPES: Final = {
    "beat_scheduler": "a class, or where to import it from",
    "database_engine_callback": "a function",
    "security_encryption_key": "text or bytes",
    "security_hmac_key": "text or bytes",
    "security_key_password": "text or bytes",
    "task_annotations": "a mapping, an object with `annotate`, or a list of them",
    "task_queues": "a list of queues, or a mapping of names to options",
    "task_routes": "a mapping, a function, or a list of them",
    "timezone": "the name of a time zone, or a tzinfo",
}
"""What is wanted where no schema can say it."""

_ONE_OR_MANY: Final = ("imports", "include", "accept_content", "result_accept_content")
_SWITCHES: Final = {
    "1": True, "true": True, "yes": True, "on": True, "t": True, "y": True,
    "0": False, "false": False, "no": False, "off": False, "f": False, "n": False,
}  # fmt: skip


def unit_of(name: str) -> str | None:
    """Return the unit of a setting, None for those that have none."""
    if name in SECONDS:
        return "seconds"
    for ending, unit in _UNITS.items():
        if name.endswith(ending):
            return unit
    return None


def type_text(name: str, struct: type[Struct]) -> str:
    """Return in words what a setting may be: `number of seconds above 0, or none`."""
    text = _FREE_TYPES.get(name) or _describe(_hints(struct)[name], unit_of(name))
    return text.replace(" or None", ", or None") if text.count(" or ") == 1 else text


def plain(name: str, value: Any, struct: type[Struct]) -> Any:
    """Return a value in the form that the schema knows: durations as seconds, one name as a list of one, 0 and 1 as switches.

    What has no such form is returned as it is: the schema says what is wrong with it.
    """
    if isinstance(value, timedelta) and unit_of(name) == "seconds":
        return value.total_seconds()
    if name in _ONE_OR_MANY and isinstance(value, str):
        return (value,)
    if name == "worker_concurrency" and value == "auto":
        return None
    if name == "worker_redirect_stdouts_level" and isinstance(value, str):
        return value.upper()
    if (
        name == "broker_url"
        and isinstance(value, list | tuple)
        and value
        and all(isinstance(url, str) for url in value)
    ):
        joined = ";".join(value)
        if len(value) == 1 or scheme(joined) in ("amqp", "amqps", "pyamqp", "sentinel", "rediscluster"):
            return joined
    hint = _hints(struct).get(name)
    if type(value) is int and value in (0, 1) and _is_switch(hint):
        return bool(value)
    if value is None and (_is_mapping(hint) or name == "result_persistent"):
        return msgspec.structs.asdict(struct())[name]  # None says "not set" in Celery
    return value


def parse(name: str, text: str, struct: type[Struct]) -> Any:
    """Return what a text from the environment or the command line says; a text that fits nothing is returned as it is.

    Numbers, `true` and `false`, `none`; lists with commas or as JSON; mappings as JSON.
    """
    hint = _hints(struct).get(name)
    members = _members(hint)
    if type(None) in members and text.strip().lower() in ("", "none", "null"):
        return None
    if text[:1] in ("{", "[") and (hint is Any or _is_mapping(hint) or any(get_origin(m) is tuple for m in members)):
        try:
            return json.loads(text)
        except ValueError:
            return text
    if any(get_origin(member) is tuple for member in members):
        return tuple(part.strip() for part in text.split(",") if part.strip())
    if bool in members and text.strip().lower() in _SWITCHES:
        return _SWITCHES[text.strip().lower()]
    for kind in (int, float):
        if kind in members:
            try:
                return kind(text)
            except ValueError:
                continue
    return text


@cache
def _hints(struct: type[Struct]) -> Mapping[str, Any]:
    return get_type_hints(struct, include_extras=True)


def _members(hint: Any) -> list[Any]:
    """Return the members of a union (or the one type), without their ranges."""
    if get_origin(hint) is Annotated:
        return _members(get_args(hint)[0])
    if get_origin(hint) in (Union, types.UnionType):
        return [member for part in get_args(hint) for member in _members(part)]
    if get_origin(hint) is Literal:
        return [type(value) for value in get_args(hint)]
    return [hint]


def _is_switch(hint: Any) -> bool:
    return set(_members(hint)) <= {bool, type(None)}


def _is_mapping(hint: Any) -> bool:
    return any(get_origin(member) is dict for member in _members(hint))


def _describe(hint: Any, unit: str | None, limits: Meta | None = None) -> str:
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _describe(parts[0], unit, parts[1])
    if origin in (Union, types.UnionType):
        return " or ".join(_describe(part, unit) for part in parts)
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in parts)
    if origin is tuple:
        return "list of texts"
    if origin is dict:
        return "mapping"
    if hint in (int, float):
        return f"{'whole number' if hint is int else 'number'}{f' of {unit}' if unit else ''}{_range(limits)}"
    return {str: "text", bool: "true or false", type(None): "None"}.get(hint, "anything")


def _range(limits: Meta | None) -> str:
    if limits is None:
        return ""
    if limits.ge is not None and limits.le is not None:
        return f" from {limits.ge:g} to {limits.le:g}"
    if limits.gt is not None:
        return f" above {limits.gt:g}"
    return "" if limits.ge is None else f", at least {limits.ge:g}"
