"""The types that settings share, with their ranges."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta

PositiveFloat = Annotated[float, Meta(gt=0)]
NonNegativeFloat = Annotated[float, Meta(ge=0)]
PositiveInt = Annotated[int, Meta(ge=1)]
NonNegativeInt = Annotated[int, Meta(ge=0)]
Priority = Annotated[int, Meta(ge=0, le=255)]
Name = Annotated[str, Meta(min_length=1)]
Names = tuple[Name, ...]
Options = dict[str, Any]
ExchangeType = Literal["direct", "topic", "fanout", "headers"]
QueueType = Literal["classic", "quorum"]
"""RabbitMQ's types of queues that a task queue can be."""
DeliveryMode = Literal[1, 2, "transient", "persistent"]
LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] | int
