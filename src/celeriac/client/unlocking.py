"""`celery.chord_unlock`: the message by which Celery's senders have chords joined on backends that can't count.

Ours never send it: here the last member knows that it is the last.  A worker that gets one does what Celery's would do, looks for the
results of the header and, while some are missing, looks again later.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from celeriac.client.finishing import carry_out, finish
from celeriac.client.result_tuples import from_tuple
from celeriac.core import states
from celeriac.core.decide import Facts, decide
from celeriac.core.outcome import ChordEnded
from celeriac.core.policy import Policy
from celeriac.core.workflow import EndedMember

if TYPE_CHECKING:
    from celeriac.client.task import Task

AGAIN_S: Final = 1.0
"""When to look again, where the sender says nothing."""


def unlock_chord(
    self: Task[Any, Any],
    group_id: str,
    callback: Mapping[str, Any],
    interval: float | None = None,
    max_retries: int | None = None,
    result: Sequence[Any] | None = None,
    **_of_celery: Any,
) -> None:
    """Send the body of a chord, or have it failed, as soon as all members of its header have ended."""
    app = self.app
    header = [from_tuple(app, one) for one in result or ()]
    if not all(member.ready() for member in header):
        raise self.retry(countdown=AGAIN_S if interval is None else interval, max_retries=max_retries)
    options = callback.get("options") or {}
    facts = Facts(id=self.request.id, root_id=options.get("root_id") or self.request.root_id or self.request.id)
    ended = ChordEnded(group_id, [_ended(member) for member in header], dict(callback))
    effects = decide(Policy(), facts, ended, app.time_source.time(), 0.0)
    for outer in carry_out(app, self.request.id, effects):
        finish(app, outer)


def _ended(member: Any) -> EndedMember:
    value = member.get(propagate=False, disable_sync_subtasks=False)  # it is there already
    values = value if isinstance(value, list) else [value]  # a member may be a group
    failed = next((one for one in values if isinstance(one, BaseException)), None)
    if isinstance(failed, BaseException):
        return EndedMember(str(member.id), states.FAILURE, failed)
    return EndedMember(str(member.id), states.SUCCESS, value)
