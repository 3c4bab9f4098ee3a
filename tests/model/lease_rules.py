"""What holds in every state of the lease protocol, or over each of its steps; docs/guarantees.md has the same list."""

from __future__ import annotations

from collections import Counter
from typing import Final

from tests.model.explorer import StateRule, StepRule
from tests.model.lease_model import CRASH_LIMIT, IN_FORCE, LOSS_LIMIT, OVER, Message, State


def in_exactly_one_place(state: State) -> bool:
    """A message that has not ended is ready, delayed, claimed under one lease or parked: in exactly one of these places."""
    places = Counter(message.number for message in (*state.ready, *state.delayed, *state.parked))
    places.update(claim.message.number for claim in state.claims)
    parked = {message.number for message in state.parked}
    return all(places[number] == (1 if number in parked or not ended else 0) for number, ended in enumerate(state.ends))


def ended_once(state: State) -> bool:
    """Of all settlements that end a message, one has an effect: one result is stored, and a chord counts one part."""
    return all(ended <= 1 for ended in state.ends)


def claims_stand_under_a_lease(state: State) -> bool:
    """A claim is recorded under a lease that is known to all: so whatever becomes of its owner, somebody finds it."""
    known = {lease for lease, _ in state.leases}
    return all(claim.lease in known for claim in state.claims)


def poison_is_parked(state: State) -> bool:
    """A message that has taken its limit of workers or executors with it is parked, and waits nowhere."""
    messages = (*state.ready, *state.delayed, *(claim.message for claim in state.claims))
    return all(message.losses < LOSS_LIMIT and message.crashes < CRASH_LIMIT for message in messages)


def never_early(state: State) -> bool:
    """What is delayed is neither ready nor claimed before its time."""
    return all(not message.waits for message in (*state.ready, *(claim.message for claim in state.claims)))


def every_loss_is_counted(before: State, step: str, after: State) -> bool:
    """A message that is taken over counts one loss more; nothing else is counted as a loss, and giving back least of all."""
    by = int(" returns claim " in step)
    return all(message.losses == was.losses + by for was, message in _moved(before, after))


def every_crash_is_counted(before: State, step: str, after: State) -> bool:
    """A message whose executor's death is settled counts one crash more; nothing else is counted as a crash."""
    by = int(" settles the crash " in step)
    return all(message.crashes == was.crashes + by for was, message in _moved(before, after))


def a_lease_in_force_is_kept(before: State, step: str, after: State) -> bool:
    """While a lease is in force, only its owner ends it, and nobody else takes away what is claimed under it."""
    for lease, standing in before.leases:
        if standing == IN_FORCE and not step.startswith(f"worker {lease.worker} "):
            if after.standing(lease) not in (IN_FORCE, OVER):
                return False
            if not set(before.under(lease)) <= set(after.under(lease)):
                return False
    return True


def only_the_owner_settles(before: State, step: str, after: State) -> bool:
    """A settlement has an effect only while its message is claimed by the worker that settles: that of a former owner has none."""
    words = step.replace(",", "").split()
    if "settles" not in words or before[:5] == after[:5]:
        return True
    worker, message = int(words[1]), int(words[6])
    lease = before.workers[worker].lease
    gone = {claim for claim in before.claims if claim not in after.claims}
    return {(claim.lease, claim.message.number) for claim in gone} == {(lease, message)}


def _moved(before: State, after: State) -> list[tuple[Message, Message]]:
    """Return each message that a step has taken from one place to another, as it was and as it is."""
    if before.ready is after.ready and before.delayed is after.delayed and before.claims is after.claims:
        return []
    was = {(message.number, place): message for message, place in _places(before)}
    return [
        (one, message)
        for message, place in _places(after)
        if (message.number, place) not in was
        for (number, _), one in was.items()
        if number == message.number
    ]


def _places(state: State) -> list[tuple[Message, str]]:
    found = [(message, name) for name in ("ready", "delayed", "parked") for message in getattr(state, name)]
    return [*found, *((claim.message, "claimed") for claim in state.claims)]


def nothing_is_stuck(state: State) -> bool:
    """From every state, however many faults led there, every message comes to its end by steps that are no faults."""
    raise NotImplementedError("the search itself looks at this, when it knows every state")


def is_over(state: State) -> bool:
    """Tell whether every message has ended."""
    return all(state.ends)


STATE_RULES: Final[tuple[StateRule[State], ...]] = (
    in_exactly_one_place,
    ended_once,
    claims_stand_under_a_lease,
    poison_is_parked,
    never_early,
)
STEP_RULES: Final[tuple[StepRule[State], ...]] = (
    every_loss_is_counted,
    every_crash_is_counted,
    a_lease_in_force_is_kept,
    only_the_owner_settles,
)
NOTHING_IS_STUCK: Final = nothing_is_stuck.__name__
