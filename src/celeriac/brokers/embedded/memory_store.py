"""What a memory broker holds: queues, claims, leases. All under one lock, all calls short."""

from __future__ import annotations

import heapq
import itertools
import threading
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from math import inf

from celeriac.brokers.embedded import stored
from celeriac.core.effects import Ack, Dead, Lost, Requeue, Settlement, Verdict
from celeriac.core.message import DeadLetter, Delivery, Message, QueueDepth, Revocation
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

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._ready: dict[str, list[_Entry]] = {}
        self._delayed: list[tuple[float, int, _Entry]] = []
        self._claimed: defaultdict[str, dict[Tag, _Entry]] = defaultdict(dict)
        self._dead: list[_Entry] = []
        self._leases: dict[str, float] = {}
        self._revocations: dict[str, tuple[int, Revocation]] = {}
        self._wakes: set[Wake] = set()

    # -- publishing and waiting ------------------------------------------------------------------------------------

    def publish(self, messages: Iterable[Message]) -> None:
        """Take all messages, or none of them."""
        entries = self._entries(messages)
        with self._lock:
            for entry in entries:
                self._insert(entry)
        self.wake_all()

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

    def claim(self, owner: str, queues: Sequence[str], limit: int) -> tuple[list[Delivery], float | None]:
        """Give up to `limit` messages to the owner, if it has a lease; return them and when the next delayed one is due."""
        deliveries: list[Delivery] = []
        with self._lock:
            self._release_due()
            turns = list(queues)
            while owner in self._leases and len(deliveries) < limit:
                heads = [
                    (self._ready[queue][0].priority, turn) for turn, queue in enumerate(turns) if self._ready[queue]
                ]
                if not heads:
                    break
                turn = min(heads)[1]
                entry = heapq.heappop(self._ready[turns[turn]])
                turns.append(turns.pop(turn))  # who was served stands at the back
                entry.claims += 1
                tag = (entry.number, entry.claims)
                self._claimed[owner][tag] = entry
                deliveries.append(_delivery(tag, entry))
            return deliveries, self._delayed[0][0] if self._delayed else None

    def settle(self, owner: str, batch: Iterable[Settlement]) -> list[Lost]:
        """Apply each settlement whose message is still the owner's; return the others."""
        # Encoded first: what cannot be stored must stop the batch before any of it is done.
        prepared = [(settlement, self._entries(settlement.publish)) for settlement in batch]
        lost = []
        news = False
        with self._lock:
            claims = self._claimed[owner]
            for settlement, follow_ups in prepared:
                entry = claims.pop(settlement.tag, None) if isinstance(settlement.tag, tuple) else None
                if entry is None:
                    lost.append(Lost(settlement.tag))
                    continue
                for follow_up in follow_ups:
                    self._insert(follow_up)
                self._end(entry, settlement.verdict)
                news = news or bool(follow_ups) or isinstance(settlement.verdict, Requeue)
        if news:
            self.wake_all()
        return lost

    # -- leases ----------------------------------------------------------------------------------------------------

    def take_lease(self, owner: str, lease_s: float) -> None:
        """Let the owner's lease run from now."""
        with self._lock:
            self._leases[owner] = self.clock() + lease_s

    def renew_lease(self, owner: str, lease_s: float) -> bool:
        """Let the owner's lease run from now; False when it has none any more."""
        with self._lock:
            if owner not in self._leases:
                return False
            self._leases[owner] = self.clock() + lease_s
            return True

    def leave(self, owner: str) -> None:
        """End the lease and make every claim ready again, uncounted."""
        with self._lock:
            self._leases.pop(owner, None)
            for entry in self._claimed.pop(owner, {}).values():
                self._make_ready(entry)
        self.wake_all()

    def maintain(self, watcher: str, loss_limit: int, dead_expires_s: float) -> float | None:
        """Release what is due, take over from the lost, drop what is old; return when the next delayed message is due."""
        now = self.clock()
        with self._lock:
            for owner in [owner for owner, until in self._leases.items() if until < now and owner != watcher]:
                del self._leases[owner]
            lost = [owner for owner in self._claimed if owner not in self._leases]
            for owner in lost:
                for entry in self._claimed.pop(owner).values():
                    entry.losses += 1
                    if entry.losses >= loss_limit:
                        self._park(entry, f"went down with its worker {entry.losses} times (task_loss_limit)")
                    else:
                        self._make_ready(entry)
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
            return sorted(self._ready)

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

    # -- without it ------------------------------------------------------------------------------------------------

    def _entries(self, messages: Iterable[Message]) -> list[_Entry]:
        now = self.clock()
        entries = []
        for message in messages:
            due = message.not_before if message.not_before is not None and message.not_before > now else inf
            payload = stored.encode(message)
            entries.append(_Entry(next(self._numbers), message.queue, message.priority, due, now, payload))
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
