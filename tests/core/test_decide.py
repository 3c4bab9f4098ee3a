"""The table of the semantics, row by row."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeriac.core import states
from celeriac.core.decide import Facts, decide
from celeriac.core.effects import ACK, REQUEUE, Ack, Dead, Effects
from celeriac.core.outcome import (
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
from celeriac.exceptions import MaxRetriesExceededError, Reject, TaskRevokedError, TimeLimitExceeded, WorkerLostError

NOW = 1_000.0
BOOM = ValueError("boom")
CALLBACK: dict[str, Any] = {"task": "cb", "args": [], "kwargs": {}, "options": {}, "immutable": False}
ERRBACK: dict[str, Any] = {"task": "eb", "args": [], "kwargs": {}, "options": {}, "immutable": False}
STEPS: list[dict[str, Any]] = [{"task": "last"}, {"task": "next"}]


def run(outcome: Outcome, *, policy: Policy | None = None, **facts: Any) -> Effects:
    given_facts = Facts(id="t", root_id="r", callbacks=[CALLBACK], errbacks=[ERRBACK], **facts)
    return decide(policy or Policy(), given_facts, outcome, NOW, 0.5)


def kept(effects: Effects) -> tuple[str, Any] | None:
    return (effects.keep.state, effects.keep.result) if effects.keep else None


def test_success_is_stored_and_its_callbacks_get_the_value() -> None:
    effects = run(Succeeded(7))
    assert (effects.verdict, kept(effects)) == (ACK, (states.SUCCESS, 7))
    assert [(call.signature, call.prepend, call.parent_id, call.root_id) for call in effects.invoke] == [
        (CALLBACK, (7,), "t", "r")
    ]


def test_success_sends_the_next_step_with_the_rest_of_the_chain() -> None:
    effects = run(Succeeded(7), chain=STEPS)
    step = effects.invoke[-1]
    assert (step.signature, step.prepend, step.chain) == ({"task": "next"}, (7,), [{"task": "last"}])


def test_the_last_step_leaves_an_empty_chain() -> None:
    assert run(Succeeded(7), chain=STEPS[:1]).invoke[-1].chain == []


def test_a_result_that_is_ignored_is_not_stored_but_its_callbacks_run() -> None:
    effects = run(Succeeded(7), ignore_result=True)
    assert effects.keep is None
    assert len(effects.invoke) == 1


def test_failure_is_stored_and_its_errbacks_get_the_id() -> None:
    effects = run(Failed(BOOM, "tb"), chain=STEPS)
    assert (effects.verdict, kept(effects)) == (ACK, (states.FAILURE, BOOM))
    assert effects.keep is not None
    assert effects.keep.traceback == "tb"
    assert [(call.signature, call.prepend, call.parent_id, call.root_id) for call in effects.invoke] == [
        (ERRBACK, ("t",), "t", "t")
    ]


def test_an_ignored_failure_is_stored_only_when_errors_are_kept() -> None:
    assert run(Failed(BOOM, ""), ignore_result=True).keep is None
    kept_errors = Policy(store_errors_even_if_ignored=True)
    assert kept(run(Failed(BOOM, ""), policy=kept_errors, ignore_result=True)) == (states.FAILURE, BOOM)


def test_a_retry_is_the_same_task_later_and_nothing_else() -> None:
    effects = run(RetryAsked(BOOM, "tb", automatic=True), retries=1)
    assert (effects.verdict, kept(effects), effects.invoke) == (ACK, (states.RETRY, BOOM), [])
    assert effects.again is not None
    # Second retry: step 2 s, half of it by the chance of 0.5.
    assert (effects.again.retries, effects.again.not_before) == (2, NOW + 1.0)


def test_a_retry_without_automatic_backoff_waits_the_default_delay() -> None:
    again = run(RetryAsked(BOOM, "")).again
    assert again is not None
    assert again.not_before == NOW + 180.0


def test_a_retry_that_names_its_time_gets_it() -> None:
    again = run(RetryAsked(BOOM, "", not_before=NOW + 3.0)).again
    assert again is not None
    assert again.not_before == NOW + 3.0


def test_past_the_limit_an_automatic_retry_fails_with_its_own_error() -> None:
    effects = run(RetryAsked(BOOM, "tb", automatic=True), retries=3)
    assert (kept(effects), effects.again) == ((states.FAILURE, BOOM), None)
    assert len(effects.invoke) == 1


def test_past_the_limit_an_asked_retry_fails_as_used_up() -> None:
    effects = run(RetryAsked(BOOM, "tb", max_retries=1), retries=1)
    assert effects.keep is not None
    assert isinstance(effects.keep.result, MaxRetriesExceededError)


def test_without_a_limit_a_retry_is_always_granted() -> None:
    assert run(RetryAsked(BOOM, ""), policy=Policy(max_retries=None), retries=10**6).again is not None


@pytest.mark.parametrize(
    ("outcome", "verdict"),
    [
        (Ignored(), ACK),
        (Rejected(Reject("no", True), "", requeue=True), REQUEUE),
    ],
)
def test_what_leaves_no_state(outcome: Outcome, verdict: object) -> None:
    effects = run(outcome)
    assert (effects.verdict, effects.keep, effects.invoke, effects.again) == (verdict, None, [], None)


@pytest.mark.parametrize(
    ("outcome", "verdict", "state", "error", "invoked"),
    [
        (TimedOut(5.0), Ack, states.FAILURE, TimeLimitExceeded, 1),
        (Crashed("killed", 3), Dead, states.FAILURE, WorkerLostError, 1),
        (Crashed("killed", 1, parked=False), Ack, states.FAILURE, WorkerLostError, 1),
        (Rejected(Reject("no"), "tb", requeue=False), Dead, states.FAILURE, Reject, 1),
        (Revoked("expired"), Ack, states.REVOKED, TaskRevokedError, 0),
        (Unrunnable(KeyError("x"), "unknown"), Dead, states.FAILURE, KeyError, 1),
    ],
)
def test_endings_that_the_task_did_not_choose(
    outcome: Outcome, verdict: type, state: str, error: type[BaseException], invoked: int
) -> None:
    effects = run(outcome)
    assert isinstance(effects.verdict, verdict)
    assert effects.keep is not None
    assert effects.keep.state == state
    assert isinstance(effects.keep.result, error)
    assert len(effects.invoke) == invoked


def test_the_reason_of_a_rejection_is_that_of_the_task() -> None:
    assert run(Rejected(Reject("no"), "tb", requeue=False)).verdict == Dead("rejected by the task: no")


@pytest.mark.parametrize(
    ("outcome", "policy"),
    [
        (Failed(BOOM, "tb"), Policy(acks_on_failure=False)),
        (TimedOut(5.0), Policy(acks_on_timeout=False)),
    ],
)
def test_what_failed_is_parked_where_acknowledging_it_is_switched_off(outcome: Outcome, policy: Policy) -> None:
    effects = run(outcome, policy=policy)
    assert isinstance(effects.verdict, Dead)
    assert (effects.keep is not None and effects.keep.state) == states.FAILURE
    assert len(effects.invoke) == 1


def test_each_of_the_two_switches_is_for_its_own_kind_of_failure() -> None:
    assert run(Failed(BOOM, "tb"), policy=Policy(acks_on_timeout=False)).verdict == ACK
    assert run(TimedOut(5.0), policy=Policy(acks_on_failure=False)).verdict == ACK


def test_a_crash_is_a_retry_where_the_task_wants_that() -> None:
    policy = Policy(retry_on_worker_lost=True, max_retries=1)
    effects = run(Crashed("killed", 1, parked=False), policy=policy)
    assert effects.again is not None
    assert (effects.again.retries, kept(effects)) == (1, (states.RETRY, effects.keep.result if effects.keep else None))
    last = run(Crashed("killed", 1, parked=False), policy=policy, retries=1)
    assert last.keep is not None
    assert isinstance(last.keep.result, WorkerLostError)


def test_a_replacement_is_sent_under_the_same_id_and_nothing_is_stored() -> None:
    effects = run(ReplacedBy({"task": "other"}), chain=STEPS)
    (invoke,) = effects.invoke
    assert (effects.verdict, effects.keep, invoke.signature, invoke.same_task) == (ACK, None, {"task": "other"}, True)


@given(
    retries=st.integers(0, 10_000),
    limit=st.none() | st.integers(0, 10_000),
    chance=st.floats(0, 1, exclude_max=True),
    automatic=st.booleans(),
)
def test_a_retry_is_granted_below_the_limit_only_and_never_early(
    retries: int, limit: int | None, chance: float, automatic: bool
) -> None:
    outcome = RetryAsked(BOOM, "", automatic=automatic)
    effects = decide(Policy(max_retries=limit), Facts("t", "t", retries=retries), outcome, NOW, chance)
    granted = limit is None or retries < limit
    assert (effects.again is not None) == granted
    if effects.again is not None:
        assert NOW < effects.again.not_before <= NOW + 600.0
        assert effects.again.retries == retries + 1
