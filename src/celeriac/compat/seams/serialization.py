"""`kombu.serialization.registry`: the object through which serializers are registered."""

from __future__ import annotations

from typing import Final

from celeriac import serialization
from celeriac.client.readable import readable


class SerializerRegistry:
    """The functions of `celeriac.serialization`, as methods."""

    register = staticmethod(serialization.register)
    unregister = staticmethod(serialization.unregister)
    dumps = staticmethod(serialization.dumps)
    loads = staticmethod(serialization.loads)

    def enable(self, name: str) -> None:
        """Let `loads` read this content when it is not told what to accept. Idempotent."""
        readable.add(name)

    def disable(self, name: str) -> None:
        """Let it read this no more. Idempotent."""
        readable.discard(name)


registry: Final = SerializerRegistry()
