"""Which tasks a revocation means: those of an id, or those that carry a stamp."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct

from celeriac.core.message import Revocation
from celeriac.exceptions import ArgumentError

REVOKED: Final = "celeriac_revoked"
"""Header of ours: the message was taken out of its delay only to be concluded as revoked."""

_STAMP: Final = "\x1fstamp\x1f"
"""No task's id can begin so, because none may hold a control character: a revocation by stamp travels as one by such an id,
and nothing between client and worker has to know of it."""


def stamp_id(name: str, value: Any) -> str:
    """Return the id under which the tasks with one stamp are revoked. Raises `ArgumentError` for what is no plain data."""
    try:
        return _STAMP + msgspec.json.encode([name, value], order="deterministic").decode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ArgumentError(f"stamp {name!r} = {value!r:.80} cannot be written as JSON: {error}") from None


def is_task_id(revoked_id: str) -> bool:
    """Tell whether a revoked id is that of a task, and not one of `stamp_id`."""
    return not revoked_id.startswith(_STAMP)


def stamp_of(revoked_id: str) -> tuple[str, Any] | None:
    """Return name and value of the stamp that an id of `stamp_id` means; None for a task's id, and for what nobody of ours wrote."""
    if not revoked_id.startswith(_STAMP):
        return None
    try:
        return msgspec.json.decode(revoked_id[len(_STAMP) :], type=tuple[str, Any])
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None  # junk among the revocations must not stop who looks for others


def ids_of(headers: Mapping[str, Any]) -> Iterator[str]:
    """Yield every id by which the task with these headers may have been revoked: its own, and one for each stamp."""
    yield headers.get("id", "")
    names, stamps = headers.get("stamped_headers"), headers.get("stamps")
    if not names or not isinstance(names, list | tuple) or not isinstance(stamps, dict):
        return
    for name in names:
        value = stamps.get(name) if isinstance(name, str) else None
        for one in value if isinstance(value, list | tuple) else () if value is None else (value,):
            try:
                yield stamp_id(name, one)
            except ArgumentError:
                continue  # what can't be written, nobody can have revoked


class Sought(Struct, frozen=True):
    """Tasks that are looked for among messages that wait."""

    ids: frozenset[str]
    """Ids of tasks, and of `stamp_id`."""
    task_ids: tuple[str, ...]
    """Those that are ids of tasks."""
    stamp_names: tuple[str, ...]
    """Names of stamps, one of which the headers of a message sought by its stamp must hold."""

    @classmethod
    def by(cls, revocations: Iterable[Revocation]) -> Sought:
        """Return what these revocations mean."""
        ids = dict.fromkeys(revocation.id for revocation in revocations)
        stamps = {one: stamp for one in ids if (stamp := stamp_of(one)) is not None}
        names = dict.fromkeys(name for name, _value in stamps.values())
        return cls(frozenset(ids), tuple(one for one in ids if one not in stamps), tuple(names))

    def covers(self, headers: Mapping[str, Any]) -> bool:
        """Tell whether the task with these headers is one of them."""
        return any(one in self.ids for one in ids_of(headers))
