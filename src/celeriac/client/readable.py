"""What `celeriac.serialization.loads` reads when it is not told what to accept; what an app reads is `accept_content`'s to say."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

SAFE: Final = ("json",)
INSECURE: Final = ("pickle", "yaml", "msgpack")

readable: Final = set(SAFE)


def enable_insecure_serializers(choices: Iterable[str] | None = INSECURE) -> None:
    """Let `loads` of `celeriac.serialization` read these, by name or content type, when it is not told what to accept.

    What messages and results an app reads, `accept_content` alone decides.
    """
    readable.update(choices or ())


def disable_insecure_serializers(allowed: Iterable[str] | None = SAFE) -> None:
    """Let `loads` of `celeriac.serialization` read nothing but these when it is not told what to accept."""
    readable.clear()
    readable.update(allowed or ())
