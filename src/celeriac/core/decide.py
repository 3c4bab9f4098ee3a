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
| rejected    | nothing               | parked, or requeued if asked | nothing                    |
| timed out   | FAILURE               | acknowledged | errbacks                                   |
| crashed     | FAILURE               | parked       | errbacks (before its limit: see the core)  |
| revoked     | REVOKED               | acknowledged | nothing                                    |
| unrunnable  | FAILURE               | parked       | errbacks                                   |
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field

from celeriac.core import states
from celeriac.core.effects import ACK, REQUEUE, Again, Dead, Effects, Invoke, Keep
from celeriac.core.outcome import (
    Crashed,
    Failed,
    Ignored,
    Outcome,
    Rejected,
    RetryAsked,
    Revoked,
    Succeeded,
    TimedOut,
    Unrunnable,
)
from celeriac.core.policy import Policy
from celeriac.core.retry import may_retry, retry_delay_s
from celeriac.exceptions import MaxRetriesExceededError, TaskRevokedError, TimeLimitExceeded, WorkerLostError

Signature = dict[str, Any]


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


def decide(policy: Policy, facts: Facts, outcome: Outcome, now: float, chance: float) -> Effects:
    """Return what has to happen after `outcome`; `now` in Unix seconds, `chance` in [0, 1) for the jitter."""
    match outcome:
        case Succeeded():
            return _succeeded(facts, outcome)
        case RetryAsked():
            return _retry(policy, facts, outcome, now, chance)
        case Failed():
            return _failed(policy, facts, outcome.exc, outcome.traceback)
        case Ignored():
            return Effects(ACK)
        case Rejected():
            return Effects(REQUEUE if outcome.requeue else Dead(outcome.reason))
        case TimedOut():
            return _failed(policy, facts, TimeLimitExceeded(outcome.limit_s), None)
        case Crashed():
            effects = _failed(policy, facts, WorkerLostError(outcome.reason), None)
            return Effects(Dead(outcome.reason), effects.keep, effects.invoke)
        case Revoked():
            keep = None if facts.ignore_result else Keep(states.REVOKED, TaskRevokedError(outcome.reason))
            return Effects(ACK, keep)
        case Unrunnable():
            effects = _failed(policy, facts, outcome.exc, None)
            return Effects(Dead(outcome.reason), effects.keep, effects.invoke)


def _succeeded(facts: Facts, outcome: Succeeded) -> Effects:
    value = (outcome.value,)
    invoke = [Invoke(callback, value, facts.id, facts.root_id) for callback in facts.callbacks]
    if facts.chain:
        *rest, step = facts.chain
        invoke.append(Invoke(step, value, facts.id, facts.root_id, chain=rest))
    keep = None if facts.ignore_result else Keep(states.SUCCESS, outcome.value)
    return Effects(ACK, keep, invoke)


def _failed(policy: Policy, facts: Facts, exc: BaseException, traceback: str | None) -> Effects:
    # Celery's errbacks get the id of the failed task, and belong to it.
    invoke = [
        Invoke(errback, (facts.id,), facts.id, facts.id, error=exc, traceback=traceback) for errback in facts.errbacks
    ]
    stored = policy.store_errors_even_if_ignored or not facts.ignore_result
    return Effects(ACK, Keep(states.FAILURE, exc, traceback) if stored else None, invoke)


def _retry(policy: Policy, facts: Facts, asked: RetryAsked, now: float, chance: float) -> Effects:
    limit = policy.max_retries if asked.max_retries is None else asked.max_retries
    if not may_retry(limit, facts.retries):
        exc = asked.exc if asked.automatic else MaxRetriesExceededError(f"task {facts.id} used its {limit} retries")
        return _failed(policy, facts, exc, asked.traceback)
    not_before = asked.not_before
    if not_before is None:
        not_before = now + retry_delay_s(policy, facts.retries, automatic=asked.automatic, chance=chance)
    again = Again(facts.retries + 1, not_before, asked.args, asked.kwargs, asked.options)
    keep = None if facts.ignore_result else Keep(states.RETRY, asked.exc, asked.traceback)
    return Effects(ACK, keep, again=again)
