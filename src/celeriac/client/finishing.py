"""Finishing a stuck chord by hand: members that never ended count as failed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct
from msgspec.structs import replace

from celeriac.client import workflows
from celeriac.client.context import Request
from celeriac.client.errbacks import call_here
from celeriac.core import states
from celeriac.core.decide import Facts, decide
from celeriac.core.effects import Effects, Join
from celeriac.core.outcome import ChordEnded, Joined
from celeriac.core.policy import Policy
from celeriac.core.stuck import name_of, result_id_of
from celeriac.core.workflow import ChordOpening, ChordState, Part
from celeriac.exceptions import ChordError, TimeoutError

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac

JOINED_AT_ONCE: Final = 500


class Finished(Struct, frozen=True):
    """What became of a chord that was finished by hand."""

    group_id: str
    body: str
    """Name of the body's task, or of the steps of a chain."""
    body_id: str | None
    """The id of its result; None where that is none or several."""
    missing: int
    """How many members were taken as failed because they had not ended."""
    error: str
    """Why the body did not run; empty when it was sent."""
    errbacks: int = 0
    """How many errbacks were called or sent."""


def finish(app: Celeriac, group_id: str) -> list[Finished]:
    """Finish a chord as if each member that has not ended had failed; blocking.

    With all members there and well (or as many as `min_successes` asks for) the body is sent; else it has failed, its errbacks are
    called, and what was to follow it ends with it.  Where that makes an outer chord complete, that one is finished too: the chords
    are returned in their order.  A member that ends later changes nothing.

    Should it be interrupted, it can be repeated: the body is sent under the same id.  Raises `ChordError` when no such chord is open,
    `DecodeError` when its body is not known (Celery does not keep it) or can't be read, `BackendUnavailable`, `BrokerUnavailable`.
    """
    finished = []
    waiting = [group_id]
    while waiting:
        one, outer = _finish_one(app, waiting.pop(0))
        finished.append(one)
        waiting += outer
    return finished


def _finish_one(app: Celeriac, group_id: str) -> tuple[Finished, list[str]]:
    """Finish one chord; return also the group ids of those that have become complete with it."""
    reader = app._reader
    state = _open_chord(app, group_id)
    # Opened before anything is changed: it may be unreadable.
    workflows.read_chord(app, Joined(group_id, [], body=state.body), None)
    missing = _close_ranks(app, state)
    collected = reader.collect(group_id)
    ended = workflows.read_chord(app, Joined(group_id, collected.parts, collected.structure, state.body), None)
    options = ended.body.get("options") or {}
    facts = Facts(id=group_id, root_id=options.get("root_id") or group_id)
    effects = decide(Policy(), facts, ended, app.time_source.time(), 0.0)
    outer = carry_out(app, group_id, effects)
    reader.close_chords(effects.closes)
    errbacks = [invoke for invoke in effects.invoke if invoke.error is not None]
    failed = len(errbacks) == len(effects.invoke)
    return (
        Finished(
            group_id=group_id,
            body=name_of(ended.body),
            body_id=result_id_of(ended.body),
            missing=missing,
            error=_error_of(ended, effects) if failed else "",
            errbacks=len(errbacks),
        ),
        outer,
    )


def _open_chord(app: Celeriac, group_id: str) -> ChordState:
    for state in app._reader.chords([group_id]):
        return state
    raise ChordError(
        f"no workflow {group_id!r} is open: it is finished, it has expired (result_expires), or the id is another's"
    )


def _close_ranks(app: Celeriac, state: ChordState) -> int:
    """Put a failure in the place of each member that has not ended, and return how many they are.

    They are counted as any other part, so that the chord has one finisher whatever comes in meanwhile.
    """
    group_id, ended = state.group_id, state.ended
    if state.size is None:
        state = replace(state, size=ended + 1)
        app._reader.open_chords([ChordOpening(group_id, ended + 1, app.settings.chord_expires_s)])
    assert state.size is not None
    error = TimeoutError("it had not ended when its workflow was finished by hand")
    # Numbered on from those that are in, so that a second attempt does not give a name that the first has used.
    joins = (
        Join(group_id, f"never-ended-{number}", None, states.FAILURE, error)
        for number in range(ended + 1, state.size + 1)
    )
    parts = (workflows.part_of(app, join, app.settings.task_serializer) for join in joins)
    finishes = []
    while some := list(islice(parts, JOINED_AT_ONCE)):
        finishes += _join(app, some)
    if finishes and not any(finishes):
        raise ChordError(
            f"the members that were missing in workflow {group_id} have just ended: their worker finishes it"
        )
    return len(finishes)


def carry_out(app: Celeriac, group_id: str, effects: Effects) -> list[str]:
    """Send and store what follows; return the group ids of outer chords that are complete now.

    In the order in which a worker does it: what is opened is there before its members, and what is sent before the chord is closed.
    """
    request = Request(id=group_id, root_id=group_id, called_directly=False)
    messages = []
    for index, invoke in enumerate(effects.invoke):
        if not call_here(app, invoke, workflows.failed_request(request, invoke)):
            sent = workflows.follow_up(app, invoke, index, None)
            app._reader.open_chords(sent.openings)
            messages += sent.messages
    app._reader.store([workflows.foregone_record(app, keep, request) for keep in effects.foregone])
    for message in messages:
        app.sender.publish(message, {})
    parts = [workflows.part_of(app, join, app.settings.task_serializer) for join in effects.joins]
    return [part.group_id for part, is_last in zip(parts, _join(app, parts), strict=True) if is_last]


def _join(app: Celeriac, parts: Sequence[Part]) -> list[bool]:
    """Add parts to their chords as a worker does, from wherever this is called: also where an event loop runs."""
    if not parts:
        return []

    async def join() -> list[bool]:
        writer = app.backend.writer()
        try:
            return await writer.join(parts)
        finally:
            await writer.close()

    with ThreadPoolExecutor(1, "celeriac-finishing") as thread:
        return thread.submit(asyncio.run, join()).result()


def _error_of(ended: ChordEnded, effects: Effects) -> str:
    errors: list[Any] = [invoke.error for invoke in effects.invoke] + [keep.result for keep in effects.foregone]
    return str(next(filter(None, errors), f"{sum(member.failed for member in ended.members)} members failed"))
