"""Puts messages into a queue that no client of ours would send, by the plainest means that each broker has."""

from __future__ import annotations

from typing import Any

from celeriac.torture.malformed.case import Case, Raw, Target
from celeriac.torture.malformed.put import put as put_cases
from tests.e2e.harness import Place, task_name

__all__ = ["Case", "Raw", "headers", "put", "put_all"]


def headers(task: str = "work", **changes: Any) -> dict[str, Any]:
    """Headers as they should be, with changes; a change to `...` leaves the header out."""
    return Target(task=task_name(task)).headers(**changes)


def put(place: Place, queue: str, messages: list[Raw]) -> None:
    """Put all of them into a queue that exists."""
    put_all(place, queue, [Case("", message) for message in messages])


def put_all(place: Place, queue: str, cases: list[Case]) -> None:
    """Put malformed messages into a queue that exists."""
    put_cases(place.name, place.broker_url, queue, cases)
