"""When is nothing left to do? The parts of an embedded worker say so, and a test waits for all of them."""

from __future__ import annotations

import threading
import time
from typing import Final, Protocol

PATIENCE_S: Final = 30.0
"""Real seconds after which a test that waits is told what it waits for."""
LOOK_AGAIN_S: Final = 0.05
"""How often the parts are asked again should nobody say that something has changed."""


class Part(Protocol):
    """A part that may have something to do."""

    def is_still(self) -> bool:
        """Tell whether it can do nothing more by itself now; called with the lock held, so it must not block."""

    def describe(self) -> str:
        """Say what it is at, for the error of a test that has waited too long."""


class Stillness:
    """Knows the parts of a test's workers. Thread-safe.

    `lock` guards what the parts base their answer on: whoever makes a part busy says so under the lock, before it can be seen to
    be still.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()  # a plain one: a task's thread may be interrupted by an exception anywhere
        self._changed = threading.Condition(self.lock)
        self._parts: list[Part] = []

    def add(self, part: Part) -> None:
        """Ask this part too."""
        with self.lock:
            self._parts.append(part)

    def remove(self, part: Part) -> None:
        """Ask it no more. Idempotent."""
        with self.lock:
            self._parts = [other for other in self._parts if other is not part]
            self._changed.notify_all()

    def note(self) -> None:
        """With the lock held: something may have become still."""
        self._changed.notify_all()

    def wait(self, patience_s: float = PATIENCE_S) -> None:
        """Return when all parts are still; raises `AssertionError` after `patience_s` real seconds, with what goes on."""
        give_up_at = time.monotonic() + patience_s
        with self.lock:
            while busy := [part for part in self._parts if not part.is_still()]:
                if time.monotonic() > give_up_at:
                    break
                self._changed.wait(LOOK_AGAIN_S)
            if not busy:
                return
            told = "\n".join(part.describe() for part in busy)
        raise AssertionError(
            f"after {patience_s:g} s something is still going on:\n{told}\nA task that waits for the time does it with clock.sleep(seconds), one that waits for the test with"
            " clock.wait(event); what really takes so long needs more patience_s."
        )
