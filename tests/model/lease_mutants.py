"""Broken variants of the lease protocol, each with the rule that it breaks: they show that the search finds what is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from tests.model.explorer import Step
from tests.model.lease_model import (
    CRASH_LIMIT,
    OVER,
    Claim,
    Held,
    Lease,
    Message,
    Protocol,
    State,
    Worker,
    forgetting,
    to_head,
    with_claim,
    with_end,
    with_worker,
    without_claim,
    without_lease,
)


class Broken(Protocol):
    """A protocol with one defect."""

    breaks: ClassVar[str]
    """The rule that the shortest way leads to."""
    size: ClassVar[tuple[int, int, int]] = (1, 2, 2)
    """Messages, workers and faults with which it is found."""


class SettlesWithoutFence(Broken):
    """A settlement does not look whether the claim is there."""

    breaks = "only_the_owner_settles"

    def settled(self, state: State, number: int, held: Held) -> State:
        if self.own_claim(state, number, held) is None and not held.crashed:
            return with_end(state, held.number)
        return super().settled(state, number, held)


class PopsThenRecords(Broken):
    """Taking a message and recording who has it are two steps."""

    breaks = "in_exactly_one_place"

    def claim(self, state: State, number: int) -> Iterator[Step[State]]:
        worker = state.workers[number]
        if worker.in_hand is not None:
            after = with_claim(state, Claim(worker.lease, self.new_tag(state, number), worker.in_hand))
            yield Step(f"worker {number} records", with_worker(after, number, worker._replace(in_hand=None)))
        elif state.ready and self.may_claim(state, worker):
            *rest, message = state.ready
            after = state._replace(ready=tuple(rest))
            yield Step(f"worker {number} pops", with_worker(after, number, worker._replace(in_hand=message)))


class AcknowledgesThenSends(Broken):
    """What is sent anew after a crash is sent when its message has been acknowledged."""

    breaks = "in_exactly_one_place"

    def settle(self, state: State, number: int, held: Held) -> Iterator[Step[State]]:
        claim = self.own_claim(state, number, held)
        if not held.crashed or claim is None or claim.message.crashes + 1 >= CRASH_LIMIT:
            yield from super().settle(state, number, held)
            return
        after = forgetting(without_claim(state, claim), number, held)
        keeping = after.workers[number]._replace(in_hand=claim.message)
        yield Step(f"worker {number} acknowledges {held.number}", with_worker(after, number, keeping))


class FencesLeasesInForce(Broken):
    """Expiring takes leases, too, that are in force."""

    breaks = "a_lease_in_force_is_kept"

    def has_run_out(self, standing: int) -> bool:
        return standing >= OVER


class RenewsAFencedLease(Broken):
    """A lease whose claims are being taken over can be renewed."""

    breaks = "a_lease_in_force_is_kept"

    def may_renew(self, standing: int | None) -> bool:
        return standing is not None


class TakesTheSameNameAgain(Broken):
    """Who has lost a lease takes another under the same name, where the old claims stand."""

    breaks = "a_lease_in_force_is_kept"

    def new_lease(self, state: State, number: int) -> Lease:
        return Lease(number, 0)


class CountsTagsAnew(Broken):
    """The tags of claims begin anew with each lease, so that an old one may mean another message."""

    breaks = "only_the_owner_settles"
    size = (2, 2, 1)

    def take_lease(self, state: State, number: int, lease: Lease) -> State:
        """Keep what runs, as a task does that nobody has ended yet."""
        held = state.workers[number].held
        after = super().take_lease(state, number, lease)
        return with_worker(after, number, after.workers[number]._replace(held=held))

    def new_tag(self, state: State, number: int) -> int:
        used = {claim.tag for claim in state.under(state.workers[number].lease)}
        return next(tag for tag in range(99) if tag not in used)


class ClaimsWithoutALease(Broken):
    """A claim does not look whether its lease is in force."""

    breaks = "claims_stand_under_a_lease"

    def may_claim(self, state: State, worker: Worker) -> bool:
        return True


class LeavesClaimsBehind(Broken):
    """Who leaves removes the lease without a look at what is claimed under it."""

    breaks = "claims_stand_under_a_lease"

    def leave(self, state: State, number: int) -> Iterator[Step[State]]:
        after = without_lease(state, state.workers[number].lease)
        yield Step(f"worker {number} leaves", with_worker(after, number, Worker()))


class NeverFindsItsClaims(Broken):
    """A claim whose answer was lost is not looked for."""

    breaks = "nothing_is_stuck"
    size = (1, 2, 1)

    def reconnect(self, state: State, number: int) -> Iterator[Step[State]]:
        yield from ()


class TakesNothingOver(Broken):
    """Nobody looks after the leases of those that are gone."""

    breaks = "nothing_is_stuck"
    size = (1, 2, 1)

    def fence(self, state: State, number: int) -> Iterator[Step[State]]:
        yield from ()


class ReturnsWithoutCounting(Broken):
    """What is taken over comes back uncounted."""

    breaks = "every_loss_is_counted"

    def counted(self, message: Message) -> Message:
        return message


class CountsWhatIsGivenBack(Broken):
    """Giving back counts as a loss."""

    breaks = "every_loss_is_counted"

    def give_back(self, state: State, number: int, held: Held) -> Iterator[Step[State]]:
        claim = self.own_claim(state, number, held)
        if claim is not None:
            after = to_head(without_claim(state, claim), self.counted(claim.message))
            yield Step(f"worker {number} gives {held.number} back", forgetting(after, number, held))


class ForgetsCrashes(Broken):
    """What is sent anew after a crash has no count."""

    breaks = "every_crash_is_counted"

    def settled(self, state: State, number: int, held: Held) -> State:
        after = super().settled(state, number, held)
        return after._replace(delayed=tuple(message._replace(crashes=0) for message in after.delayed))


class NeverParks(Broken):
    """A message comes back however many workers it has taken with it."""

    breaks = "poison_is_parked"

    def taken(self, state: State, lease: Lease, tag: int) -> State:
        claim = next((claim for claim in state.under(lease) if claim.tag == tag), None)
        return state if claim is None else to_head(without_claim(state, claim), self.counted(claim.message))


class ReturnsThenForgets(Broken):
    """Taking a message over copies it into its queue, and removes the claim with the whole lease."""

    breaks = "in_exactly_one_place"

    def taken(self, state: State, lease: Lease, tag: int) -> State:
        claim = next((claim for claim in state.under(lease) if claim.tag == tag), None)
        return state if claim is None else to_head(state, self.counted(claim.message))


class IsEarly(Broken):
    """What is delayed is moved before it is due."""

    breaks = "never_early"

    def is_due(self, message: Message) -> bool:
        return True


class TellsOfParkedMessagesTwice(Broken):
    """The end of a parked message is stored as it is parked, and once more as its claim is settled."""

    breaks = "ended_once"

    def settled(self, state: State, number: int, held: Held) -> State:
        after = super().settled(state, number, held)
        return after if after.parked == state.parked else with_end(after, held.number)
