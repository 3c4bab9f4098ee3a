"""Recordings of real Celery (tests/golden, made by tools/record_golden.py), read for the tests.

Python values stand there as source text, because JSON cannot tell a tuple from a list.
"""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any, Final
from uuid import UUID

GOLDEN: Final = Path(__file__).resolve().parent.parent / "golden"

NAMES: Final[dict[str, Any]] = {
    "UTC": UTC,
    "Decimal": Decimal,
    "UUID": UUID,
    "date": date,
    "datetime": datetime,
    "time": time,
    "timedelta": timedelta,
    "timezone": timezone,
    "LATER": datetime(2036, 11, 22, 6, 54, 34, 147011, tzinfo=UTC),
    "PAST": datetime(2016, 11, 22, 6, 54, 34, tzinfo=UTC),
}
"""What the source texts may use besides builtins; those with signatures need Celery, and stay unread here."""


def value(source: str) -> Any:
    """The value of a source text."""
    return eval(source, dict(NAMES))


def load(name: str) -> list[dict[str, Any]]:
    """The recordings of one file."""
    cases: list[dict[str, Any]] = json.loads((GOLDEN / f"{name}.json").read_text())["cases"]
    return cases


def names(cases: list[dict[str, Any]]) -> list[str]:
    """Test ids for recordings."""
    return [case["name"] for case in cases]
