"""What a memory broker holds: queues, claims, leases. All under one lock, all calls short."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import threading
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from math import inf

from celeriac.brokers.declaring import rooms, unroutable
from celeriac.brokers.embedded import stored
from celeriac.brokers.embedded.exchanges import Bound, Multiplied, multiply
from celeriac.brokers.embedded.withdrawing import read_sought
from celeriac.core.effects import Ack, Dead, Lost, Requeue, Settlement, Verdict
from celeriac.core.message import DeadLetter, Delayed, Delivery, Message, QueueDepth, Revocation
from celeriac.core.ports import Conclude
from celeriac.core.queues import QueueTable, public_queue
from celeriac.core.revoking import Sought
from celeriac.exceptions import BadMessage

Tag = tuple[int, int]
Wake = Callable[[], None]


class _Entry:
    """One message and its place, which never changes: by priority, then `due`, then age."""

    __slots__ = (
        "claims",
        "due",
        "losses",
        "number",
        "parked_at",
        "payload",
        "priority",
        "published_at",
        "queue",
        "reason",
    )

    def __init__(self, number: int, queue: str, priority: int, due: float, published_at: float, payload: bytes) -> None:
        self.number = number
        self.queue = queue
        self.priority = priority
        self.due = due
        """Unix seconds; infinite for a message that was never delayed, so that one that was stands before it."""
        self.published_at = published_at
        self.payload = payload
        self.claims = 0
        self.losses = 0
        self.reason = ""
        self.parked_at = 0.0

    def __lt__(self, other: _Entry) -> bool:
        return (self.priority, self.due, self.number) < (other.priority, other.due, other.number)


class MemoryStore:
    """The state of a memory broker. Thread-safe; no call blocks for longer than it takes.

    1. Keeps messages as bytes, so that no two sides ever share an object.
    2. Answers each call as one transaction.
    3. Wakes those who wait for a change, by callbacks that must not block.
    """

    def __init__(self, clock: Callable[[], float], lease_clock: Callable[[], float]) -> None:
        self.clock = clock
        self._lease_clock = lease_clock
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._ready: dict[str, list[_Entry]] = {}
        self._delayed: list[tuple[float, int, _Entry]] = []
        self._claimed: defaultdict[str, dict[Tag, _Entry]] = defaultdict(dict)
        self._dead: list[_Entry] = []
        self._leases: dict[str, float] = {}
        self._revocations: dict[str, tuple[int, Revocation]] = {}
        self._wakes: set[Wake] = set()
        self._ways: dict[tuple[str, str, str], Bound] = {}
        """By exchange, routing key and queue."""

    # -- publishing and waiting ------------------------------------------------------------------------------------

    def publish(self, messages: Sequence[Message], table: QueueTable) -> list[Message]:
        """Take all messages, but those that no queue is bound for: return these."""
        routed = self._route(messages, table)
        entries = self._entries(routed.messages)
        with self._lock:
            for entry in entries:
                self._insert(entry)
        self.wake_all()
        return routed.unroutable

    def bind(self, ways: Iterable[Bound]) -> None:
        """Keep bindings. Idempotent."""
        with self._lock:
            self._ways |= {(way.exchange, way.routing_key, way.queue): way for way in ways}

    def publish_raw(self, queue: str, raw: bytes) -> None:
        """Put bytes into a queue that may be no message."""
        with self._lock:
            self._insert(_Entry(next(self._numbers), queue, 0, inf, self.clock(), raw))
        self.wake_all()

    def declare(self, queues: Iterable[str]) -> None:
        """Create the queues that do not exist."""
        with self._lock:
            for queue in queues:
                self._ready.setdefault(queue, [])

    def subscribe(self, wake: Wake) -> None:
        """Call `wake`, in any thread, whenever something may have become ready."""
        with self._lock:
            self._wakes.add(wake)

    def unsubscribe(self, wake: Wake) -> None:
        """Call it no more."""
        with self._lock:
            self._wakes.discard(wake)

    def wake_all(self) -> None:
        """Wake all who wait."""
        with self._lock:
            wakes = list(self._wakes)
        for wake in wakes:
            wake()

    # -- claiming and settling -------------------------------------------------------------------------------------

    def claim(
        self, owner: str, queues: Sequence[str], limit: int, limits: Mapping[str, int] | None = None
    ) -> tuple[list[Delivery], float | None]:
        """Give up to `limit` messages to the owner, if it has a lease; return them and when the next delayed one is due.

        `limits`: most claims of some queues at once.
        """
        deliveries: list[Delivery] = []
        with self._lock:
            self._release_due()
            turns = list(queues)
            room = rooms(turns, limits, [entry.queue for entry in self._claimed[owner].values()]) if limits else {}
            while owner in self._leases and len(deliveries) < limit:
                heads = [
                    (self._ready[queue][0].priority, turn)
                    for turn, queue in enumerate(turns)
                    if self._ready.get(queue) and room.get(queue) != 0
                ]
                if not heads:
                    break
                turn = min(heads)[1]
                entry = heapq.heappop(self._ready[turns[turn]])
                turns.append(turns.pop(turn))  # who was served stands at the back
                if entry.queue in room:
                    room[entry.queue] -= 1
                entry.claims += 1
                tag = (entry.number, entry.claims)
                self._claimed[owner][tag] = entry
                deliveries.append(_delivery(tag, entry))
            return deliveries, self._delayed[0][0] if self._delayed else None

    def settle(self, owner: str, batch: Iterable[Settlement], table: QueueTable, *, limited: bool) -> list[Lost]:
        """Apply each settlement whose message is still the owner's; return the others.

        `limited`: a claim may wait for the room that this makes.
        """
        # Encoded first: what cannot be stored must stop the batch before any of it is done.
        prepared = [self._prepared(settlement, table) for settlement in batch]
        lost = []
        news = limited
        with self._lock:
            claims = self._claimed[owner]
            for settlement, verdict, follow_ups in prepared:
                entry = claims.pop(settlement.tag, None) if isinstance(settlement.tag, tuple) else None
                if entry is None:
                    lost.append(Lost(settlement.tag))
                    continue
                for follow_up in follow_ups:
                    self._insert(follow_up)
                self._end(entry, verdict)
                news = news or bool(follow_ups) or isinstance(verdict, Requeue)
        if news:
            self.wake_all()
        return lost

    def next_due(self) -> float | None:
        """Make ready what is due, and return when the next delayed message will be, None when none waits."""
        with self._lock:
            self._release_due()
            return self._delayed[0][0] if self._delayed else None

    def upcoming(self, queues: Collection[str], limit: int) -> list[Message]:
        """Return the messages of these queues that are due first, of those that are delayed."""
        with self._lock:
            delayed = [item for item in self._delayed if item[-1].queue in queues]
        found = []
        for due, _, entry in heapq.nsmallest(limit, delayed):
            with contextlib.suppress(BadMessage):
                message = stored.decode(entry.payload)
                message.not_before = due
                found.append(message)
        return found

    def hasten(self, delayed: Sequence[Delayed]) -> int:
        """Make delayed messages ready; return how many were found."""
        wanted = {(one.queue, one.due, one.task_id) for one in delayed}
        dues = {one.due for one in delayed}
        found = []
        with self._lock:
            for item in self._delayed:
                entry = item[-1]
                if entry.due in dues and (entry.queue, entry.due, stored.id_of(entry.payload)) in wanted:
                    found.append(entry)
            if found:
                self._delayed = [item for item in self._delayed if item[-1] not in found]
                heapq.heapify(self._delayed)
                for entry in found:
                    self._make_ready(entry)
        if found:
            self.wake_all()
        return len(found)

    # -- leases ----------------------------------------------------------------------------------------------------

    def take_lease(self, owner: str, lease_s: float) -> None:
        """Let the owner's lease run from now."""
        with self._lock:
            self._leases[owner] = self._lease_clock() + lease_s

    def renew_lease(self, owner: str, lease_s: float) -> bool:
        """Let the owner's lease run from now; False when it has none any more."""
        with self._lock:
            if owner not in self._leases:
                return False
            self._leases[owner] = self._lease_clock() + lease_s
            return True

    def leave(self, owner: str) -> None:
        """End the lease and make every claim ready again, uncounted."""
        with self._lock:
            self._leases.pop(owner, None)
            for entry in self._claimed.pop(owner, {}).values():
                self._make_ready(entry)
            self._forget_ownerless()
        self.wake_all()

    def maintain(self, watcher: str, loss_limit: int, dead_expires_s: float) -> float | None:
        """Release what is due, take over from the lost, drop what is old; return when the next delayed message is due."""
        now = self.clock()
        with self._lock:
            leases_now = self._lease_clock()
            for owner in [owner for owner, until in self._leases.items() if until < leases_now and owner != watcher]:
                del self._leases[owner]
            lost = [owner for owner in self._claimed if owner not in self._leases]
            for owner in lost:
                for entry in self._claimed.pop(owner).values():
                    entry.losses += 1
                    if entry.losses >= loss_limit:
                        self._park(entry, f"went down with its worker {entry.losses} times (task_loss_limit)")
                    else:
                        self._make_ready(entry)
            self._forget_ownerless()
            released = self._release_due()
            self._dead = [entry for entry in self._dead if entry.parked_at >= now - dead_expires_s]
            self._revocations = {key: kept for key, kept in self._revocations.items() if kept[1].expires_at > now}
            next_due = self._delayed[0][0] if self._delayed else None
        if lost or released:
            self.wake_all()
        return next_due

    # -- looking and tidying ---------------------------------------------------------------------------------------

    def queues(self) -> list[str]:
        """Name all queues."""
        with self._lock:
            return sorted(queue for queue in self._ready if public_queue(queue) == queue)

    def depth(self, queue: str) -> QueueDepth:
        """Count what waits in a queue."""
        with self._lock:
            ready = self._ready.get(queue, [])
            age_s = None
            if ready:
                since = ready[0].published_at if ready[0].due == inf else ready[0].due
                age_s = max(0.0, self.clock() - since)
            return QueueDepth(
                queue,
                ready=len(ready),
                delayed=sum(entry.queue == queue for *_, entry in self._delayed),
                claimed=sum(entry.queue == queue for claims in self._claimed.values() for entry in claims.values()),
                dead=sum(entry.queue == queue for entry in self._dead),
                oldest_age_s=age_s,
            )

    def purge(self, queue: str) -> int:
        """Delete what is ready and delayed."""
        with self._lock:
            before = len(self._ready.get(queue, [])) + len(self._delayed)
            if queue in self._ready:
                self._ready[queue] = []
            self._delayed = [item for item in self._delayed if item[-1].queue != queue]
            heapq.heapify(self._delayed)
            return before - len(self._delayed)

    def dead_letters(self, queue: str, limit: int) -> list[DeadLetter]:
        """Return parked messages, newest first."""
        with self._lock:
            newest_first = (entry for entry in reversed(self._dead) if entry.queue == queue)
            return [_letter(entry) for entry in itertools.islice(newest_first, limit)]

    def remove_dead(self, queue: str, ids: Collection[str], *, retry: bool) -> int:
        """Delete parked messages, or make them ready with their counts reset; return how many."""
        with self._lock:
            chosen = [entry for entry in self._dead if entry.queue == queue and str(entry.number) in ids]
            self._dead = [entry for entry in self._dead if entry not in chosen]
            for entry in chosen if retry else ():
                entry.losses = 0
                entry.payload = stored.reset(entry.payload)
                self._make_ready(entry)
        self.wake_all()
        return len(chosen)

    def revoke(self, revocations: Iterable[Revocation]) -> None:
        """Keep revocations; one that says nothing new changes nothing."""
        with self._lock:
            for revocation in revocations:
                _, known = self._revocations.get(revocation.id, (0, None))
                if known != revocation:
                    self._revocations[revocation.id] = (next(self._numbers), revocation)

    def withdraw_delayed(self, sought: Sought, conclude: Conclude) -> int:
        """Take what is sought out of its delay and return how many messages it was; `conclude` says what takes their places."""
        with self._lock:
            delayed = [entry for *_, entry in self._delayed]
        found = [(entry, one) for entry in delayed if (one := read_sought(entry.payload, sought)) is not None]
        # Without the lock: it stores results, in a place that may have a lock of its own.
        instead = conclude([message for _, message in found]) if found else []
        replacements = {entry.number: message for (entry, _), message in zip(found, instead, strict=True)}
        with self._lock:
            taken = [item[-1] for item in self._delayed if item[-1].number in replacements]
            self._delayed = [item for item in self._delayed if item[-1].number not in replacements]
            heapq.heapify(self._delayed)
            for entry in taken:
                replacement = replacements[entry.number]
                if replacement is not None:
                    entry.payload = stored.encode(replacement)
                    self._make_ready(entry)
        if taken:
            self.wake_all()
        return len(taken)

    def revocations_after(self, number: int) -> tuple[int, list[Revocation]]:
        """Return the revocations in force with a higher number, and the highest number."""
        now = self.clock()
        with self._lock:
            found = sorted(
                (kept for kept in self._revocations.values() if kept[0] > number and kept[1].expires_at > now),
                key=lambda kept: kept[0],
            )
            return max([number, *(kept[0] for kept in found)]), [revocation for _, revocation in found]

    # -- with the lock held ----------------------------------------------------------------------------------------

    def _insert(self, entry: _Entry) -> None:
        if entry.due == inf:
            self._make_ready(entry)
        else:
            self._ready.setdefault(entry.queue, [])
            heapq.heappush(self._delayed, (entry.due, entry.number, entry))

    def _make_ready(self, entry: _Entry) -> None:
        heapq.heappush(self._ready.setdefault(entry.queue, []), entry)

    def _park(self, entry: _Entry, reason: str) -> None:
        entry.reason, entry.parked_at = reason, self.clock()
        entry.queue = public_queue(entry.queue)
        self._dead.append(entry)

    def _end(self, entry: _Entry, verdict: Verdict) -> None:
        match verdict:
            case Ack():
                pass  # nobody keeps it any more
            case Requeue():
                self._make_ready(entry)
            case Dead(reason):
                self._park(entry, reason)

    def _release_due(self) -> bool:
        now = self.clock()
        released = False
        while self._delayed and self._delayed[0][0] <= now:
            self._make_ready(heapq.heappop(self._delayed)[-1])
            released = True
        return released

    def _forget_ownerless(self) -> None:
        """Drop the queues that went with a lease which has ended, and what is in them: it was meant for that worker alone."""
        over = {key: way for key, way in self._ways.items() if way.owner and way.owner not in self._leases}
        for key, way in over.items():
            del self._ways[key]
            self._ready.pop(way.queue, None)
            self._delayed = [item for item in self._delayed if item[-1].queue != way.queue]
        if over:
            heapq.heapify(self._delayed)

    # -- without it ------------------------------------------------------------------------------------------------

    def _route(self, messages: Sequence[Message], table: QueueTable) -> Multiplied:
        if all(message.queue for message in messages):
            return Multiplied(list(messages))
        with self._lock:
            ways, leases = list(self._ways.values()), set(self._leases)
        return multiply(messages, table, lambda _: ways, leases.__contains__)

    def _prepared(self, settlement: Settlement, table: QueueTable) -> tuple[Settlement, Verdict, list[_Entry]]:
        routed = self._route(settlement.publish, table)
        if routed.unroutable:
            return settlement, Dead(f"its follow-up cannot be sent: {unroutable(routed.unroutable)}"), []
        return settlement, settlement.verdict, self._entries(routed.messages)

    def _entries(self, messages: Iterable[Message]) -> list[_Entry]:
        now = self.clock()
        entries = []
        for message in messages:
            due = message.not_before if message.not_before is not None and message.not_before > now else inf
            payload = stored.encode(message)
            entry = _Entry(next(self._numbers), message.queue, message.priority, due, now, payload)
            entry.losses = stored.losses_of(message)
            entries.append(entry)
        return entries


def _delivery(tag: Tag, entry: _Entry) -> Delivery:
    try:
        return Delivery(tag, entry.queue, stored.decode(entry.payload), losses=entry.losses)
    except BadMessage as error:
        return Delivery(tag, entry.queue, None, str(error), entry.payload, entry.losses)


def _letter(entry: _Entry) -> DeadLetter:
    letter = DeadLetter(str(entry.number), entry.queue, entry.reason, entry.parked_at, None)
    try:
        letter.message = stored.decode(entry.payload)
    except BadMessage:
        letter.raw = entry.payload
    return letter
