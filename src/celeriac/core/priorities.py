"""Priorities: the number in a call, and the number in the message.

In a call 9 is the most urgent and 0 the least, on every broker (`task_priority_direction` = `highest-first`).  In messages the
numbers are Celery's: RabbitMQ hands out the highest first, Redis the lowest, and the embedded brokers do as Redis does.
"""

from __future__ import annotations

from typing import Final, Literal

HIGHEST: Final = 9
"""The highest number where a broker has ten levels."""

First = Literal["low", "high"]
Direction = Literal["highest-first", "celery"]


def to_wire(priority: int, first: First, direction: Direction) -> int:
    """Return the number for the message; `first` says which numbers the broker hands out first."""
    if direction == "celery" or first == "high":
        return priority
    return HIGHEST - min(max(priority, 0), HIGHEST)


def from_wire(number: int, first: First, direction: Direction) -> int:
    """Return the number of the call for the number in a message: the same mapping, it is its own inverse."""
    return to_wire(number, first, direction)
