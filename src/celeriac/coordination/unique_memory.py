"""Keys of unique tasks in this process: for the memory broker, whose worker is embedded."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from celeriac.core.unique import Answer, Arrive, Lock, Step, Undo, apply_step


class MemoryUniqueStore:
    """Holds the keys in this object: who is to meet must share it. Thread-safe; `clock` gives Unix seconds."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._busy = threading.Lock()
        self._locks: dict[str, Lock] = {}
        self._replaced: dict[tuple[str, str], str] = {}
        """Key and call that must not run any more -> who took its place."""

    def apply(self, steps: Sequence[Step], timeout_s: float) -> list[Answer]:
        """See `UniqueStore.apply`; there is nothing to wait for."""
        with self._busy:
            return [self._apply(step) for step in steps]

    def close(self) -> None:
        """There is nothing to close."""

    def _apply(self, step: Step) -> Answer:
        now = self._clock()
        after = apply_step(self._locks.get(step.key), step, now, self._replaced.get((step.key, marked_id(step)), ""))
        if after.lock is None:
            self._locks.pop(step.key, None)
        else:
            self._locks[step.key] = after.lock
        if after.replaced:
            self._replaced[step.key, after.replaced] = step.id
        self._replaced.pop((step.key, after.restored), None)
        return after.answer


def marked_id(step: Step) -> str:
    """Return the call of which a step has to know whether it was replaced; empty: of none."""
    match step:
        case Arrive():
            return step.id
        case Undo():
            return step.replaced
    return ""
