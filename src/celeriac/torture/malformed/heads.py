"""Headers and properties that are not as they should be."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from celeriac.torture.malformed.case import ENDED, PARKED, WAITS, Case, Raw, Target
from celeriac.torture.places import REDIS, SQLITE

HOSTILE: Final = "../../x\r\nSET a b\r\n"
LONG: Final = "t" * 1024 * 1024
NOT_RABBITMQ: Final = (REDIS, SQLITE)
"""RabbitMQ's protocol carries no headers above 128 KiB, and no integer above 64 bits; and its delay ends after eight years."""


def heads(target: Target) -> Iterator[Case]:
    """Yield every odd set of headers and of properties."""

    def case(name: str, headers: dict[str, Any], *, end: str = PARKED, properties: Any = None, **more: Any) -> Case:
        return Case(
            f"headers: {name}", Raw(target.body(f"headers: {name}"), headers, properties or {}), end=end, **more
        )

    yield case("none at all", {})
    for name, changes in _parked().items():
        yield case(name, target.headers(**changes))
    for name, changes in _odd().items():
        yield case(name, target.headers(**changes), end=ENDED)
    yield case("task of 1 MB", target.headers(task=LONG), places=NOT_RABBITMQ)
    yield case("text of 1 MB", target.headers(argsrepr=LONG, shadow=LONG, origin=LONG), end=ENDED, places=NOT_RABBITMQ)
    yield case("more than 64 bits", target.headers(retries=2**70), places=(REDIS,))
    yield case("10,000 of them", target.headers(**{f"h{number}": 1 for number in range(10_000)}))
    yield case("deep", target.headers(h=_nested(40)), end=ENDED)
    yield case(
        "ETA in the year 9999, beyond its zone",
        target.headers(eta="9999-12-31T23:59:59-23:59"),
        end=WAITS,
        places=NOT_RABBITMQ,
    )
    yield case("ETA in ten years", target.headers(eta="2046-01-01T00:00:00"), end=WAITS, places=NOT_RABBITMQ)
    for name, properties in _properties().items():
        yield case(f"property {name}", target.headers(), properties=properties, end=ENDED)


def _parked() -> dict[str, dict[str, Any]]:
    return {
        "unknown task": {"task": "no_such_task"},
        "task that is a module's function": {"task": "os.system"},
        "task null": {"task": None},
        "task list": {"task": ["a"]},
        "task empty": {"task": ""},
        "task long": {"task": "t" * 70_000},
        "task with newline and ESC": {"task": "a\n\x1b[31mCRITICAL"},
        "task that writes from right to left": {"task": "a\u202ekrow"},
        "id missing": {"id": ...},
        "id null": {"id": None},
        "id dict": {"id": {"a": 1}},
        "id hostile": {"id": HOSTILE},
        "id NUL": {"id": "a\x00b"},
        "id of 64 kB": {"id": "i" * 65_536},
        "eta garbage": {"eta": "tomorrow"},
        "eta year 99999": {"eta": "99999-01-01T00:00:00"},
        "eta number": {"eta": 12},
        "eta long": {"eta": "2026-01-01T00:00:00" + "0" * 1000},
        "eta of a hostile zone": {"eta": "2026-01-01T00:00:00+99:99"},
        "expires dict": {"expires": {"a": 1}},
        "expires garbage": {"expires": "never"},
        "timelimit text": {"timelimit": "soon"},
        "timelimit negative": {"timelimit": [-5, -1]},
        "timelimit of three": {"timelimit": [1, 2, 3]},
        "timelimit a dict": {"timelimit": {"soft": 1}},
        "retries text": {"retries": "many"},
        "retries negative": {"retries": -1},
        "retries of 63 bits": {"retries": 2**62},
        "crashes negative": {"celeriac_crashes": -1},
        "crashes of 63 bits": {"celeriac_crashes": 2**63 - 1},
        "losses negative": {"celeriac_losses": -(2**62)},
        "losses text": {"celeriac_losses": "x"},
        "losses of 63 bits": {"celeriac_losses": 2**63 - 1},
        "unique mark text": {"celeriac_unique": "x"},
        "unique mark junk": {"celeriac_unique": {"key": 7, "until": []}},
        "rate limit's key a list": {"celeriac_rate_limit_key": ["x"]},
        "rate limit's key long": {"celeriac_rate_limit_key": "x" * 10_000},
        "slot of the future": {"celeriac_slot": 1e300},
    }


def _odd() -> dict[str, dict[str, Any]]:
    return {
        "ETA ten years ago": {"eta": "2016-01-01T00:00:00"},
        "expired ten years ago": {"expires": "2016-01-01T00:00:00"},
        "expires in ten years": {"expires": "2046-01-01T00:00:00"},
        "language unknown": {"lang": "klingon", "protocol": 99, "version": "3"},
        "group a dict": {"group": {"a": 1}, "group_index": "x"},
        "group long": {"group": "g" * 10_000, "group_index": -1},
        "group hostile": {"group": HOSTILE, "group_index": 2**62},
        "root a list": {"root_id": [1], "parent_id": {"a": 1}},
        "stamps text": {"stamps": "x", "stamped_headers": "y"},
        "stamps junk": {"stamps": {"a": [[[1]]]}, "stamped_headers": [1, None, "a", {"b": 1}]},
        "ignore_result a dict": {"ignore_result": {"a": 1}},
        "texts that are none": {"argsrepr": {"a": 1}, "kwargsrepr": [1], "shadow": {"x": 1}, "origin": 7},
        "nesting text": {"replaced_task_nesting": "x"},
        "slot text": {"celeriac_slot": None},
        "revoked already": {"celeriac_revoked": True},
        "delivery count negative": {"x-delivery-count": -5},
        "delivery count of 63 bits": {"x-delivery-count": 2**63 - 1},
        "stranger's reason": {"x-celeriac-reason": "because", "x-celeriac-queue": HOSTILE},
        "deaths that never were": {"x-death": [{"count": 10**9, "queue": "x", "reason": "expired"}]},
    }


def _properties() -> dict[str, dict[str, Any]]:
    return {
        "reply_to that climbs": {"reply_to": "../../etc/passwd"},
        "reply_to hostile": {"reply_to": HOSTILE},
        "correlation_id long": {"correlation_id": "c" * 255},
        "priority beyond": {"priority": 255},
        "expiration far": {"expiration": "4294967295"},
        "app_id": {"app_id": HOSTILE, "type": "x", "message_id": HOSTILE},
    }


def _nested(levels: int) -> Any:
    value: Any = 1
    for level in range(levels):
        value = [value] if level % 2 else {"a": value}
    return value
