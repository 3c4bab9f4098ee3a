"""The Lua scripts in which everything happens that must happen in one step. The keys are listed in `library.lua`."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files
from typing import Final

from msgspec import Struct

_SHEBANG_VERSION: Final = (7,)
_SHEBANG: Final = "#!lua flags=allow-oom\n"
# Before Redis 7 a script may say nothing about itself; there a script whose first write is no new data (this one
# deletes from a key that never exists) may go on writing on a full server.
_FIRST_WRITE: Final = "redis.call('HDEL', KEYS[1] .. ':none', '')\n"


class Script(Struct, frozen=True):
    """A script as one version of Redis wants it."""

    name: str
    source: bytes
    sha: str


class Scripts(Struct, frozen=True):
    """All scripts for one version of Redis."""

    claim: Script
    declare: Script
    delay: Script
    due: Script
    expire: Script
    fence: Script
    lease: Script
    leave: Script
    purge: Script
    revocations: Script
    revoke: Script
    settle: Script
    store: Script
    unpark: Script

    def named(self, name: str) -> Script:
        """Return the script of this name."""
        script: Script = getattr(self, name)
        return script


_NOT_WHEN_FULL: Final = frozenset({"delay", "store"})
"""What only brings new data to Redis; all else empties it or keeps its house, and must work on a full server."""


@cache
def load_scripts(version: tuple[int, ...]) -> Scripts:
    """Read the scripts for a server's version."""
    folder = files(__name__)
    library = folder.joinpath("library.lua").read_text("utf-8")

    def load(name: str) -> Script:
        body = library + folder.joinpath(f"{name}.lua").read_text("utf-8")
        if name not in _NOT_WHEN_FULL:
            body = (_SHEBANG if version >= _SHEBANG_VERSION else _FIRST_WRITE) + body
        source = body.encode()
        return Script(name, source, hashlib.sha1(source, usedforsecurity=False).hexdigest())

    return Scripts(**{name: load(name) for name in Scripts.__struct_fields__})
