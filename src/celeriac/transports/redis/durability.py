"""How far a Redis must have secured a write before we rely on it: the commands that wait for that, and their answers. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

from msgspec import Struct

from celeriac.core.settings import Settings
from celeriac.exceptions import ImproperlyConfigured
from celeriac.transports.redis.errors import ReplyError
from celeriac.transports.redis.protocol import Word

_ANSWER_S: Final = 0.05
"""Kept of a deadline for the answer to come back."""


class Durability(Struct, frozen=True):
    """What is wanted of the writes of one connection, those before the command that waits."""

    kind: Literal["replica", "fsync"]
    replicas: int
    timeout_s: float

    def command(self, left_s: float) -> list[Word]:
        """Return what waits until all earlier writes of its connection are secure, at most `left_s` seconds of a deadline.

        It holds up whatever is sent over the same connection after it.
        """
        wait_s = min(self.timeout_s, left_s - _ANSWER_S)
        return self._waiting(max(int(wait_s * 1000), 1))  # 0 would be for ever

    @property
    def probe(self) -> list[Word]:
        """Return the same as a question: on a connection that has written nothing, it is answered at once."""
        return self._waiting(1)

    def refusal(self, reply: Any, version: Sequence[int]) -> ReplyError | None:
        """Return why a server cannot do this, from its answer to `probe`; None if it can."""
        if not isinstance(reply, ReplyError):
            return None
        setting, text = f"redis_durability={self.kind!r}", str(reply)
        if "unknown command" in text:
            shown = ".".join(map(str, version))
            return ReplyError(
                f"VERSION {shown}, which has no WAITAOF; {setting} needs Redis 7.2: upgrade, or set it to 'replica', or leave it out"
                " and give Redis 'appendfsync always'"
            )
        if "appendonly is disabled" in text:
            return ReplyError(f"CONFIG {setting} needs 'appendonly yes' in the configuration of Redis: {text}")
        return reply

    def shortfall(self, reply: Any) -> str | None:
        """Return in which way an answer says less than what was wanted; None if the writes are secure."""
        within = f"within {self.timeout_s:g} s (redis_durability_timeout_s)"
        if isinstance(reply, ReplyError):
            return f"waiting for them to be secure ended with: {reply}"
        on_disk, replicas = (1, reply) if self.kind == "replica" else reply
        if not on_disk:
            return f"it had not written them to its disk {within}"
        if replicas < self.replicas:
            return f"{replicas} of {self.replicas} replicas confirmed them {within}"
        return None

    def _waiting(self, milliseconds: int) -> list[Word]:
        if self.kind == "replica":
            return ["WAIT", self.replicas, milliseconds]
        return ["WAITAOF", 1, self.replicas, milliseconds]


def durability_of(settings: Settings) -> Durability | None:
    """Return what the settings want; None: a write counts when the server has it in memory. Raises `ImproperlyConfigured`."""
    if settings.redis_durability == "none":
        return None
    replicas = settings.redis_durability_replicas
    if settings.redis_durability == "replica":
        if replicas == 0:
            raise ImproperlyConfigured(
                "redis_durability='replica' with redis_durability_replicas=0 waits for nothing: 1 or more"
            )
        return Durability("replica", replicas or 1, settings.redis_durability_timeout_s)
    return Durability("fsync", replicas or 0, settings.redis_durability_timeout_s)
