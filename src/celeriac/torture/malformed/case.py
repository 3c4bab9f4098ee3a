"""One malformed message, and how it must end."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Final

from msgspec import Struct

from celeriac.torture.places import RABBITMQ, REDIS, SQLITE

EVERYWHERE: Final = (REDIS, RABBITMQ, SQLITE)

PARKED: Final = "parked"
"""It is among the dead letters with a reason, and did not run."""
ENDED: Final = "ended"
"""It is odd, but a task message: it ran, failed, was discarded or parked, and nothing of it is left in the queue."""
WAITS: Final = "waits"
"""It stays in the broker's delay, where it costs no worker anything."""
IGNORED: Final = "ignored"
"""It is no message at all, but lies where workers read other things; it changes nothing."""

MARK: Final = "malformed:"
"""Before the first argument of each, by which the journal shows whether it ran."""


class Raw(Struct, frozen=True):
    """A message as bytes and headers, to be put into a queue unchecked."""

    body: bytes = b"[[], {}, {}]"
    headers: Mapping[str, Any] = {}
    properties: Mapping[str, Any] = {}
    content_type: str | None = "application/json"
    content_encoding: str | None = "utf-8"


class Case(Struct, frozen=True):
    """One malformed message.

    Either a message (`raw`), which every broker can be given, or bytes that stand where one broker keeps messages (`stored`).
    """

    name: str
    raw: Raw | None = None
    stored: bytes = b""
    end: str = PARKED
    places: Sequence[str] = EVERYWHERE

    @property
    def size(self) -> int:
        """Bytes of the body, or of what is stored."""
        return len(self.stored if self.raw is None else self.raw.body)


class Target(Struct, frozen=True):
    """The task that a malformed message names: one with arguments `(key, seconds)`, which writes the key into the journal as it runs."""

    task: str = "work"
    lang: str = "py"
    mark: str = MARK

    def body(self, name: str, *more: Any, embed: Any = None, **kwargs: Any) -> bytes:
        """A good body but for what is given."""
        return json.dumps([[self.mark + name, 0, *more], kwargs, {} if embed is None else embed]).encode()

    def headers(self, **changes: Any) -> dict[str, Any]:
        """Good headers with changes; a change to `...` leaves the header out."""
        task_id = str(uuid.uuid4())
        good = {
            "lang": self.lang,
            "task": self.task,
            "id": task_id,
            "root_id": task_id,
            "parent_id": None,
            "group": None,
            "retries": 0,
            "eta": None,
            "expires": None,
            "timelimit": [None, None],
            "ignore_result": True,
            **changes,
        }
        return {name: value for name, value in good.items() if value is not ...}
