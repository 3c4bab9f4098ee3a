"""The lease protocol, small: what the scripts of Redis do to messages, and what workers may do to each other at any moment.

Left out is what changes nothing about where a message is: queues, priorities, bodies.  A step here is a step of the broker, or the
death of somebody; between two steps anything may happen.  There is no clock: a lease runs out, and a delay ends, at any moment.  So a
worker that stands still needs no step of its own: it is one whose lease runs out while it lives.

Numbers stay small by being used again: a lease's or claim's number is the lowest that nobody refers to any more, which is as good as
a new one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from tests.model.explorer import Step

IN_FORCE: Final = 2
OVER: Final = 1
FENCED: Final = 0
LOSS_LIMIT: Final = 2
"""A message that goes down with so many workers is parked."""
CRASH_LIMIT: Final = 2
"""A message that takes so many executors down is parked."""


class Lease(NamedTuple):
    """The name of a lease."""

    worker: int
    number: int


class Message(NamedTuple):
    """A message with its counts."""

    number: int
    waits: bool = False
    """It is not due yet."""
    losses: int = 0
    crashes: int = 0


class Claim(NamedTuple):
    """A message that was taken under a lease."""

    lease: Lease
    tag: int
    message: Message


class Held(NamedTuple):
    """What a worker believes to have."""

    tag: int
    number: int
    crashed: bool = False
    """Its executor has died, which is still to be settled."""


class Worker(NamedTuple):
    """A worker's memory; a dead one has none."""

    up: bool = False
    lease: Lease = Lease(0, 0)
    held: frozenset[Held] = frozenset()
    taking: tuple[Lease, tuple[int, ...]] | None = None
    """A fenced lease that it takes over, and the tags that it has read there and not given back yet."""
    in_hand: Message | None = None
    """What is in its memory and nowhere else: in broken variants only."""


class State(NamedTuple):
    """Everything: the broker, the workers, and how many faults may still happen."""

    ready: tuple[Message, ...]
    """The last one is next."""
    delayed: tuple[Message, ...]
    claims: tuple[Claim, ...]
    parked: tuple[Message, ...]
    ends: tuple[int, ...]
    """For each message, how many settlements that end it have had an effect."""
    leases: tuple[tuple[Lease, int], ...]
    """Each with IN_FORCE, OVER or FENCED."""
    workers: tuple[Worker, ...]
    faults: int

    def standing(self, lease: Lease) -> int | None:
        """Return IN_FORCE, OVER or FENCED, or None when the lease is gone."""
        return next((standing for known, standing in self.leases if known == lease), None)

    def under(self, lease: Lease) -> tuple[Claim, ...]:
        """Return the claims under a lease."""
        return tuple(claim for claim in self.claims if claim.lease == lease)


def initial(messages: int, workers: int, faults: int) -> State:
    """Return the state in which all is published, and every worker has a lease and nothing under it."""
    ready = tuple(Message(number) for number in range(messages))
    leases = [Lease(number, 0) for number in range(workers)]
    return State(
        ready=ready,
        delayed=(),
        claims=(),
        parked=(),
        ends=(0,) * messages,
        leases=tuple((lease, IN_FORCE) for lease in leases),
        workers=tuple(Worker(up=True, lease=lease) for lease in leases),
        faults=faults,
    )


class Protocol:
    """All steps of the protocol; a broken variant overrides one of them."""

    def steps(self, state: State) -> Iterator[Step[State]]:
        """Return everything that may happen in a state."""
        yield from self.time_passes(state)
        for number, worker in enumerate(state.workers):
            if not worker.up:
                yield Step(f"worker {number} starts", self.start(state, number))
                continue
            yield from self.claim(state, number)
            yield from self.reconnect(state, number)
            yield from self.renew(state, number)
            for held in sorted(worker.held):
                yield from self.settle(state, number, held)
                yield from self.give_back(state, number, held)
                if state.faults and not held.crashed:
                    yield self.executor_dies(state, number, held)
            yield from self.move_due(state, number)
            yield from self.fence(state, number)
            yield from self.take_over(state, number)
            if state.faults:
                yield from self.leave(state, number)
            if state.faults:
                yield fault(f"worker {number} is killed", with_worker(state, number, Worker()))

    # -- time ---------------------------------------------------------------------------------------------------------

    def time_passes(self, state: State) -> Iterator[Step[State]]:
        """Let a delay end or a lease run out. For a living worker that is a fault: it, or its way to the broker, stands still."""
        for message in state.delayed:
            if message.waits:
                rest = tuple(other for other in state.delayed if other != message)
                after = state._replace(delayed=tuple(sorted((*rest, message._replace(waits=False)))))
                yield Step(f"message {message.number} becomes due", after)
        living = {worker.lease for worker in state.workers if worker.up}
        for lease, standing in state.leases:
            if standing == IN_FORCE:
                after = with_lease(state, lease, OVER)
                if lease not in living:
                    yield Step(f"lease {lease.worker}.{lease.number} runs out", after)
                elif state.faults:
                    yield fault(f"lease {lease.worker}.{lease.number} runs out", after)

    # -- leases -------------------------------------------------------------------------------------------------------

    def start(self, state: State, number: int) -> State:
        """Begin with a lease and nothing else."""
        return self.take_lease(state, number, self.new_lease(state, number))

    def new_lease(self, state: State, number: int) -> Lease:
        """Return a name that nobody refers to."""
        used = {lease for lease, _ in state.leases} | {claim.lease for claim in state.claims}
        used |= {worker.taking[0] for worker in state.workers if worker.taking}
        return next(lease for n in range(99) if (lease := Lease(number, n)) not in used)

    def take_lease(self, state: State, number: int, lease: Lease) -> State:
        """Hold a lease, and nothing under it."""
        worker = state.workers[number]._replace(up=True, lease=lease, held=frozenset())
        return with_worker(with_lease(state, lease, IN_FORCE), number, worker)

    def renew(self, state: State, number: int) -> Iterator[Step[State]]:
        """Renew a lease, also one that has run out unnoticed; take another where it is fenced or gone, and hold nothing any more."""
        lease = state.workers[number].lease
        standing = state.standing(lease)
        if standing == IN_FORCE:
            return
        if self.may_renew(standing):
            yield Step(f"worker {number} renews", with_lease(state, lease, IN_FORCE))
        else:
            after = self.take_lease(state, number, self.new_lease(state, number))
            yield Step(f"worker {number} finds its lease lost", after)

    def may_renew(self, standing: int | None) -> bool:
        """Tell whether a lease can be renewed."""
        return standing in (IN_FORCE, OVER)

    def leave(self, state: State, number: int) -> Iterator[Step[State]]:
        """Stop, once nothing is claimed under the lease."""
        worker = state.workers[number]
        if not state.under(worker.lease) and not worker.in_hand:
            yield fault(f"worker {number} leaves", with_worker(without_lease(state, worker.lease), number, Worker()))

    # -- claims -------------------------------------------------------------------------------------------------------

    def claim(self, state: State, number: int) -> Iterator[Step[State]]:
        """Take the next message and record it under the lease, if that is in force; the answer may get lost on its way."""
        worker = state.workers[number]
        if not state.ready or not self.may_claim(state, worker):
            return
        tag = self.new_tag(state, number)
        *rest, message = state.ready
        after = with_claim(state._replace(ready=tuple(rest)), Claim(worker.lease, tag, message))
        if state.faults:
            yield fault(f"worker {number} claims {message.number}, and the answer is lost", after)
        holding = worker._replace(held=worker.held | {Held(tag, message.number)})
        yield Step(f"worker {number} claims {message.number}", with_worker(after, number, holding))

    def may_claim(self, state: State, worker: Worker) -> bool:
        """Tell whether the worker's lease is in force."""
        return state.standing(worker.lease) == IN_FORCE

    def new_tag(self, state: State, number: int) -> int:
        """Return a tag that nobody refers to with any lease of this worker."""
        used = {held.tag for held in state.workers[number].held}
        used |= {claim.tag for claim in state.claims if claim.lease.worker == number}
        for worker in state.workers:
            if worker.taking and worker.taking[0].worker == number:
                used.update(worker.taking[1])
        return next(tag for tag in range(99) if tag not in used)

    def reconnect(self, state: State, number: int) -> Iterator[Step[State]]:
        """Find what was claimed by a call whose answer was lost, and forget what is not there any more."""
        worker = state.workers[number]
        if not self.may_renew(state.standing(worker.lease)):
            return
        there = {claim.tag: claim.message.number for claim in state.under(worker.lease)}
        held = {one for one in worker.held if one.tag in there}
        known = {one.tag for one in held}
        held |= {Held(tag, message) for tag, message in there.items() if tag not in known}
        if held != worker.held:
            after = with_lease(state, worker.lease, IN_FORCE)
            yield Step(
                f"worker {number} connects anew", with_worker(after, number, worker._replace(held=frozenset(held)))
            )

    # -- settling -----------------------------------------------------------------------------------------------------

    def settle(self, state: State, number: int, held: Held) -> Iterator[Step[State]]:
        """End a message, its result stored in the same step; or, after a crash, send it anew with a back-off, or park it."""
        after = self.settled(state, number, held)
        what = "crash" if held.crashed else "end"
        if after != state and state.faults:
            yield fault(f"worker {number} settles the {what} of {held.number}, and the answer is lost", after)
        yield Step(f"worker {number} settles the {what} of {held.number}", forgetting(after, number, held))

    def settled(self, state: State, number: int, held: Held) -> State:
        """Return what a settlement makes of the broker: nothing, where the claim is not there."""
        claim = self.own_claim(state, number, held)
        if claim is None:
            return state
        state = without_claim(state, claim)
        message = claim.message
        if not held.crashed:
            return with_end(state, message.number)
        message = message._replace(crashes=message.crashes + 1)
        if message.crashes >= CRASH_LIMIT:
            return with_end(state._replace(parked=(*state.parked, message)), message.number)
        message = message._replace(waits=True)
        return state._replace(delayed=tuple(sorted((*state.delayed, message))))

    def own_claim(self, state: State, number: int, held: Held) -> Claim | None:
        """Return the claim that a worker means, if it is still recorded under its lease."""
        lease = state.workers[number].lease
        return next((claim for claim in state.claims if claim.lease == lease and claim.tag == held.tag), None)

    def give_back(self, state: State, number: int, held: Held) -> Iterator[Step[State]]:
        """Return a message that was not begun to the head of its queue, uncounted."""
        claim = self.own_claim(state, number, held)
        if not held.crashed and claim is not None:
            after = to_head(without_claim(state, claim), claim.message)
            yield Step(f"worker {number} gives {held.number} back", forgetting(after, number, held))

    def executor_dies(self, state: State, number: int, held: Held) -> Step[State]:
        """Have an executor die that runs a message."""
        worker = state.workers[number]
        crashed = worker._replace(held=worker.held - {held} | {held._replace(crashed=True)})
        return fault(f"the executor of worker {number} dies in {held.number}", with_worker(state, number, crashed))

    # -- the house ----------------------------------------------------------------------------------------------------

    def move_due(self, state: State, number: int) -> Iterator[Step[State]]:
        """Move what is due to the head of its queue."""
        due = tuple(message for message in state.delayed if self.is_due(message))
        if due:
            rest = tuple(message for message in state.delayed if message not in due)
            yield Step(f"worker {number} moves what is due", state._replace(delayed=rest, ready=(*state.ready, *due)))

    def is_due(self, message: Message) -> bool:
        """Tell whether a delayed message's time has come."""
        return not message.waits

    def fence(self, state: State, number: int) -> Iterator[Step[State]]:
        """Fence the leases that have run out: they can't be renewed any more, and nothing is claimed under them."""
        over = {lease for lease, standing in state.leases if self.has_run_out(standing)}
        if not over:
            return
        leases = tuple((lease, FENCED if lease in over else standing) for lease, standing in state.leases)
        yield Step(f"worker {number} fences what has run out", state._replace(leases=leases))

    def has_run_out(self, standing: int) -> bool:
        """Tell whether a lease is to be fenced."""
        return standing == OVER

    def take_over(self, state: State, number: int) -> Iterator[Step[State]]:
        """Give back what was claimed under a fenced lease: read the tags, return claim by claim, then remove the lease."""
        worker = state.workers[number]
        if worker.taking is None:
            for lease, standing in state.leases:
                if standing == FENCED:
                    tags = tuple(claim.tag for claim in state.under(lease))
                    taking = worker._replace(taking=(lease, tags))
                    yield Step(
                        f"worker {number} begins to take {lease.worker}.{lease.number} over",
                        with_worker(state, number, taking),
                    )
            return
        lease, tags = worker.taking
        if tags:
            *rest, tag = tags
            taking = worker._replace(taking=(lease, tuple(rest)))
            yield Step(
                f"worker {number} returns claim {tag} of {lease.worker}.{lease.number}",
                with_worker(self.taken(state, lease, tag), number, taking),
            )
        else:
            after = state if state.under(lease) else without_lease(state, lease)
            yield Step(
                f"worker {number} is done with {lease.worker}.{lease.number}",
                with_worker(after, number, worker._replace(taking=None)),
            )

    def taken(self, state: State, lease: Lease, tag: int) -> State:
        """Return what taking one claim over makes of the broker: nothing, where it is not there any more."""
        claim = next((claim for claim in state.claims if claim.lease == lease and claim.tag == tag), None)
        if claim is None:
            return state
        state, message = without_claim(state, claim), self.counted(claim.message)
        if message.losses >= LOSS_LIMIT:
            return with_end(state._replace(parked=(*state.parked, message)), message.number)
        return to_head(state, message)

    def counted(self, message: Message) -> Message:
        """Return a message with one loss more."""
        return message._replace(losses=message.losses + 1)


# -- changes that steps are made of ---------------------------------------------------------------------------------------


def fault(name: str, after: State) -> Step[State]:
    """Return a step of which only so many may happen."""
    return Step(name, after._replace(faults=after.faults - 1), is_fault=True)


def with_worker(state: State, number: int, worker: Worker) -> State:
    """Replace what a worker remembers."""
    return state._replace(workers=(*state.workers[:number], worker, *state.workers[number + 1 :]))


def with_lease(state: State, lease: Lease, standing: int) -> State:
    """Have a lease stand so."""
    return state._replace(leases=tuple(sorted({**dict(state.leases), lease: standing}.items())))


def without_lease(state: State, lease: Lease) -> State:
    """Remove a lease."""
    return state._replace(leases=tuple(pair for pair in state.leases if pair[0] != lease))


def with_claim(state: State, claim: Claim) -> State:
    """Record a claim."""
    return state._replace(claims=tuple(sorted((*state.claims, claim))))


def without_claim(state: State, claim: Claim) -> State:
    """Remove a claim."""
    return state._replace(claims=tuple(other for other in state.claims if other != claim))


def with_end(state: State, message: int) -> State:
    """Count the end of a message, with which its result is stored."""
    ends = tuple(count + (number == message) for number, count in enumerate(state.ends))
    return state._replace(ends=ends)


def to_head(state: State, message: Message) -> State:
    """Put a message where it is next."""
    return state._replace(ready=(*state.ready, message))


def forgetting(state: State, number: int, held: Held) -> State:
    """Have a worker know that it does not hold something any more."""
    worker = state.workers[number]
    return with_worker(state, number, worker._replace(held=worker.held - {held}))
