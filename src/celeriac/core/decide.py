"""Every rule of what follows from a task's end, in one place.

`decide` is pure: it sees the policy, what the message says and the outcome, and returns `Effects`.  Executors call it for what
they ran; the core calls no rule of its own but hands them the endings that only it can see (time limit, crash, revoke).

| outcome     | stored                | message      | then                                       |
|-------------|-----------------------|--------------|--------------------------------------------|
| succeeded   | SUCCESS               | acknowledged | callbacks and the next step of the chain   |
| failed      | FAILURE               | acknowledged | errbacks                                   |
| retry asked | RETRY                 | acknowledged | the same task again, later                 |
|  past limit | FAILURE               | acknowledged | errbacks                                   |
| ignored     | nothing               | acknowledged | nothing                                    |
| rejected    | FAILURE               | parked       | errbacks                                   |
|  to requeue | nothing               | requeued     | nothing                                    |
| replaced    | nothing               | acknowledged | the other task, under the same id          |
| timed out   | FAILURE               | acknowledged | errbacks                                   |
| crashed     | FAILURE               | parked       | errbacks (before its limit: see the core)  |
|  to retry   | as a retry            |              |                                            |
| revoked     | REVOKED               | acknowledged | nothing                                    |
| unrunnable  | FAILURE               | parked       | errbacks                                   |
| chord ended | nothing               | as it was to | the body, or what its failure leads to     |

Whatever is final is also told to the chord that the task belongs to; and if it is no success, everything that was to follow in
the chain ends with it, in the same state: nobody waits for what will never run.

"Acknowledged" holds for tasks that have not been acknowledged before they ran (`acks_late`).  With `acks_on_failure` or
`acks_on_timeout` switched off, what failed so is parked instead.
"""

from __future__ import annotations

from typing import Any, Final

from msgspec import Struct, field

from celeriac.core import states
from celeriac.core.effects import ACK, REQUEUE, Again, Dead, Effects, Invoke, Join, Keep
from celeriac.core.foregone import forgo
from celeriac.core.outcome import (
    ChordEnded,
    Crashed,
    Failed,
    Ignored,
    Outcome,
    Rejected,
    ReplacedBy,
    RetryAsked,
    Revoked,
    Succeeded,
    TimedOut,
    Unrunnable,
)
from celeriac.core.policy import Policy
from celeriac.core.retry import may_retry, retry_delay_s
from celeriac.core.workflow import EndedMember
from celeriac.exceptions import (
    ChordError,
    MaxRetriesExceededError,
    TaskRevokedError,
    TimeLimitExceeded,
    WorkerLostError,
)

Signature = dict[str, Any]

MIN_SUCCESSES: Final = "celeriac_min_successes"
"""Option of a chord's body: how many members of the header have to succeed; None: all."""


class Facts(Struct):
    """What the message says about the call: the part of it that decides what follows."""

    id: str
    root_id: str
    retries: int = 0
    callbacks: list[Signature] = field(default_factory=list)
    errbacks: list[Signature] = field(default_factory=list)
    chain: list[Signature] = field(default_factory=list)
    """What is left of the chain, last step first."""
    ignore_result: bool = False
    in_chord: bool = False
    """The task belongs to the header of a chord, whose body is in the message."""
    group_id: str = ""
    group_index: int | None = None


def decide(policy: Policy, facts: Facts, outcome: Outcome, now: float, chance: float) -> Effects:
    """Return what has to happen after `outcome`; `now` in Unix seconds, `chance` in [0, 1) for the jitter."""
    match outcome:
        case Succeeded():
            return _succeeded(facts, outcome)
        case RetryAsked():
            return _retry(policy, facts, outcome, now, chance)
        case Failed():
            effects = _failed(policy, facts, outcome.exc, outcome.traceback)
            if not policy.acks_on_failure:
                effects.verdict = Dead(f"it failed: {type(outcome.exc).__name__}: {outcome.exc}")
            return effects
        case Ignored():
            return _ignored(facts)
        case Rejected(requeue=True):
            return Effects(REQUEUE)
        case Rejected(exc=exc):
            effects = _failed(policy, facts, exc, outcome.traceback)
            effects.verdict = Dead(f"rejected by the task: {getattr(exc, 'reason', exc)}")
            return effects
        case ReplacedBy(signature=signature):
            return Effects(ACK, invoke=[Invoke(signature, (), facts.id, facts.root_id, same_task=True)])
        case TimedOut():
            effects = _failed(policy, facts, TimeLimitExceeded(outcome.limit_s), None)
            if not policy.acks_on_timeout:
                effects.verdict = Dead(f"over its hard time limit of {outcome.limit_s:g} s")
            return effects
        case Crashed():
            return _crashed(policy, facts, outcome, now, chance)
        case Revoked():
            return _revoked(facts, outcome)
        case Unrunnable():
            effects = _failed(policy, facts, outcome.exc, None)
            effects.verdict = Dead(outcome.reason)
            return effects
        case ChordEnded():
            return _chord_ended(facts, outcome)


def _succeeded(facts: Facts, outcome: Succeeded) -> Effects:
    value = (outcome.value,)
    invoke = [Invoke(callback, value, facts.id, facts.root_id) for callback in facts.callbacks]
    if facts.chain:
        *rest, step = facts.chain
        invoke.append(Invoke(step, value, facts.id, facts.root_id, chain=rest))
    keep = None if facts.ignore_result else Keep(states.SUCCESS, outcome.value)
    return Effects(ACK, keep, invoke, joins=_join(facts, states.SUCCESS, outcome.value))


def _ignored(facts: Facts) -> Effects:
    # A chord goes on without a value; a chain can't.
    effects = _ended_here(facts, states.REVOKED, TaskRevokedError("a step before it ignored itself"))
    effects.joins += _join(facts, states.SUCCESS, None)
    return effects


def _revoked(facts: Facts, outcome: Revoked) -> Effects:
    exc = TaskRevokedError(outcome.reason)
    effects = _ended_here(facts, states.REVOKED, exc)
    effects.keep = None if facts.ignore_result else Keep(states.REVOKED, exc)
    effects.joins += _join(facts, states.REVOKED, exc)
    return effects


def _ended_here(facts: Facts, state: str, exc: BaseException, traceback: str | None = None) -> Effects:
    """Return what the rest of the chain comes to."""
    if not facts.chain:
        return Effects(ACK)
    rest = forgo(reversed(facts.chain), state, exc, errbacks=False, traceback=traceback)
    return Effects(ACK, foregone=rest.keeps, joins=rest.joins)


def _join(facts: Facts, state: str, result: Any) -> list[Join]:
    if not (facts.in_chord and facts.group_id):
        return []
    return [Join(facts.group_id, facts.id, facts.group_index, state, result)]


def _failed(policy: Policy, facts: Facts, exc: BaseException, traceback: str | None) -> Effects:
    effects = _ended_here(facts, states.FAILURE, exc, traceback)
    # Celery's errbacks get the id of the failed task, and belong to it.
    effects.invoke = [
        Invoke(errback, (facts.id,), facts.id, facts.id, error=exc, traceback=traceback) for errback in facts.errbacks
    ]
    if policy.store_errors_even_if_ignored or not facts.ignore_result:
        effects.keep = Keep(states.FAILURE, exc, traceback)
    effects.joins += _join(facts, states.FAILURE, exc)
    return effects


def _chord_ended(facts: Facts, ended: ChordEnded) -> Effects:
    options = ended.body.get("options") or {}
    failed = [member for member in ended.members if member.failed]
    succeeded = [member.result for member in ended.members if not member.failed]
    enough: int | None = options.get(MIN_SUCCESSES)
    error: ChordError | None = None
    if ended.error is not None:
        error = ChordError(f"its body can't be sent: {type(ended.error).__name__}: {ended.error}")
    elif failed and (enough is None or len(succeeded) < enough):
        error = _chord_error(failed, len(succeeded), enough)
    if error is not None:
        lost = forgo([ended.body], states.FAILURE, error, errbacks=True)
        return Effects(ACK, None, lost.errbacks, foregone=lost.keeps, joins=lost.joins, closes=[ended.group_id])
    body = Invoke(ended.body, (succeeded,), facts.id, facts.root_id)
    return Effects(ACK, None, [body], closes=[ended.group_id])


def _chord_error(failed: list[EndedMember], succeeded: int, enough: int | None) -> ChordError:
    first = failed[0]
    text = f"Dependency {first.id} raised {first.result!r}"
    if len(failed) > 1:
        text += f", and {len(failed) - 1} more failed"
    if enough is not None:
        text += f"; {succeeded} succeeded, and {enough} had to"
    return ChordError(text)


def _crashed(policy: Policy, facts: Facts, crashed: Crashed, now: float, chance: float) -> Effects:
    lost = WorkerLostError(crashed.reason)
    if policy.retry_on_worker_lost:
        return _retry(policy, facts, RetryAsked(lost, "", automatic=True), now, chance)
    effects = _failed(policy, facts, lost, None)
    if crashed.parked:
        effects.verdict = Dead(crashed.reason)
    return effects


def end_of_retries(policy: Policy, task_id: str, retries: int, asked: RetryAsked) -> Failed | None:
    """Return the failure that stands in place of a retry which the limit does not allow; None when it does."""
    limit = policy.max_retries if asked.max_retries is None else asked.max_retries
    if may_retry(limit, retries):
        return None
    exc = asked.exc if asked.automatic else MaxRetriesExceededError(f"task {task_id} used its {limit} retries")
    return Failed(exc, asked.traceback)


def _retry(policy: Policy, facts: Facts, asked: RetryAsked, now: float, chance: float) -> Effects:
    failed = end_of_retries(policy, facts.id, facts.retries, asked)
    if failed is not None:
        return decide(policy, facts, failed, now, chance)
    not_before = asked.not_before
    if not_before is None:
        not_before = now + retry_delay_s(policy, facts.retries, automatic=asked.automatic, chance=chance)
    again = Again(facts.retries + 1, not_before, asked.args, asked.kwargs, asked.options)
    keep = None if facts.ignore_result else Keep(states.RETRY, asked.exc, asked.traceback)
    return Effects(ACK, keep, again=again)
