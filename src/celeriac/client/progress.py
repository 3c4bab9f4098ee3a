"""How far a group of tasks has come."""

from __future__ import annotations

from msgspec import Struct


class Progress(Struct, frozen=True):
    """How many of a group's tasks have ended; shown as `37/50`."""

    done: int
    """Have ended, those that failed among them."""
    total: int
    """All whose results are kept, those in nested groups among them."""
    failed: int
    """Have failed, or were revoked."""

    @property
    def waiting(self) -> int:
        """How many have not ended."""
        return self.total - self.done

    def __str__(self) -> str:
        return f"{self.done}/{self.total}"

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)
