"""The strict schema of what the core reads from a message's headers; a message that breaks it is parked."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

from celeriac.core.converting import convert
from celeriac.core.unique import Mark
from celeriac.exceptions import BadMessage

CRASHES: Final = "celeriac_crashes"
"""Header of ours: how often an executor died while it ran this task. Absent in messages that never crashed one."""
LOSSES: Final = "celeriac_losses"
"""Header of ours: how often the message went down with a whole worker, where the broker keeps no such count itself."""
RATE_LIMIT_KEY: Final = "celeriac_rate_limit_key"
"""Header of ours: for whom the rate of its task counts this call, worked out by its sender."""
MAX_CONCURRENCY_KEY: Final = "celeriac_max_concurrency_key"
"""Header of ours: for whom the permits of its task count this call, worked out by its sender."""
GROUP_LIMIT: Final = "celeriac_group_limit"
"""Of a group's member: the group's id, and how many of its tasks may run at once."""
SLOT: Final = "celeriac_slot"
"""Header of ours: the start that was reserved for it, in Unix seconds of whoever keeps the rate."""
SENSITIVE: Final = "celeriac_sensitive"
"""Header of ours: some of the arguments are shown to nobody who does not ask for them."""
PERIODIC_TASK: Final = "periodic_task_name"
"""The schedule entry that sent a message; django-celery-beat's name."""
SIGNATURE: Final = "celeriac_signature"
"""Header of ours: who has signed the message, when and for which place; see `wire/message_signature.py`."""

# Half a character (a lone surrogate) is a text in JSON, but none that a broker or a store can be given.
Name = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f\x7f\ud800-\udfff]+$")]
Short = Annotated[str, Meta(min_length=1, max_length=255)]
LimitKey = Annotated[str, Meta(max_length=255, pattern=r"^[^\ud800-\udfff]*$")]
Seconds = Annotated[float, Meta(ge=0, le=10_000_000)]
Count = Annotated[int, Meta(ge=0, le=2**31)]


class TaskHeaders(Struct, frozen=True):
    """The headers that decide what the core does with a message before any body is opened."""

    id: Short
    task: Short
    retries: Count | None = None
    eta: Annotated[str, Meta(max_length=64)] | None = None
    expires: Annotated[str, Meta(max_length=64)] | None = None
    timelimit: tuple[Seconds | None, Seconds | None] | None = None
    """Hard limit, soft limit: Celery's order."""
    celeriac_crashes: Count = 0
    celeriac_losses: Count = 0
    celeriac_rate_limit_key: LimitKey | None = None
    celeriac_max_concurrency_key: LimitKey | None = None
    celeriac_slot: Annotated[float, Meta(ge=0, le=1e11)] | None = None
    celeriac_unique: Mark | None = None


class _Names(Struct):
    id: Name
    task: Name


def read_headers(headers: Mapping[str, Any]) -> TaskHeaders:
    """Check the headers of a message and return those that the core acts on.

    Raises `BadMessage` that names the header which is missing or wrong.
    """
    try:
        found = convert(headers, TaskHeaders)
        # A pattern costs 0.45 us, so nearly all names are found to be good without one.
        if not (found.id.isascii() and found.id.isprintable() and found.task.isascii() and found.task.isprintable()):
            convert(headers, _Names)
        return found
    except msgspec.ValidationError as error:
        raise BadMessage(f"bad message headers: {error}") from None


def read_id(headers: Mapping[str, Any]) -> str | None:
    """Return the id of a message whose other headers may be wrong; None when it is wrong itself."""
    try:
        return msgspec.convert(headers.get("id"), Name)
    except msgspec.ValidationError:
        return None


def to_timestamp(text: str | None, header: str) -> float | None:
    """Return the Unix time of an ISO 8601 header, None when it is not set; a time without offset is taken as UTC.

    Raises `BadMessage` that names the header.
    """
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise BadMessage(f"header {header!r} is no ISO 8601 time: {text[:80]!r}") from None


def to_header(timestamp: float) -> str:
    """Write a Unix time as Celery does: ISO 8601, UTC, with offset."""
    return datetime.fromtimestamp(timestamp, UTC).isoformat()


def with_escaped_texts(headers: Mapping[str, Any]) -> dict[str, Any]:
    """Return the headers with what is for people only in a form that every broker can carry.

    Celery sends these texts as they are, lone surrogates included, as odd names of files have them; not every broker takes that.
    """
    shown = {name: text for name in ("argsrepr", "kwargsrepr") if isinstance(text := headers.get(name), str)}
    return {**headers, **{name: text.encode("utf-8", "backslashreplace").decode() for name, text in shown.items()}}
