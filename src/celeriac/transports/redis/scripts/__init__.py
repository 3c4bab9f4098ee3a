"""The Lua scripts in which everything happens that must happen in one step. The two libraries list the keys."""

from __future__ import annotations

from functools import cache
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

    board: Script
    chords: Script
    claim: Script
    close_chords: Script
    declare: Script
    delay: Script
    delayed: Script
    due: Script
    expire: Script
    extend_chord: Script
    fence: Script
    hasten: Script
    join: Script
    lease: Script
    leave: Script
    limits: Script
    mailbox: Script
    open_chords: Script
    post: Script
    publish_once: Script
    purge: Script
    revocations: Script
    revoke: Script
    settle: Script
    store: Script
    unique: Script
    unpark: Script
    upcoming: Script
    withdraw: Script

    def named(self, name: str) -> Script:
        """Return the script of this name."""
        script: Script = getattr(self, name)
        return script


_NOT_WHEN_FULL: Final = frozenset({"delay", "extend_chord", "join", "open_chords", "publish_once", "store"})
"""What only brings new data to Redis; all else empties it or keeps its house, and must work on a full server."""

_ABOUT_CHORDS: Final = frozenset({"chords", "close_chords", "extend_chord", "join", "open_chords", "settle"})


@cache
def load_scripts(version: tuple[int, ...]) -> Scripts:
    """Read the scripts for a server's version."""
    # Who only sends runs no script, and is spared 4 ms and 4 MB.
    import hashlib
    from importlib.resources import files

    folder = files(__name__)
    library, about_chords = (folder.joinpath(name).read_text("utf-8") for name in ("library.lua", "chord_library.lua"))

    def load(name: str) -> Script:
        body = folder.joinpath(f"{name}.lua").read_text("utf-8")
        body = library + (about_chords if name in _ABOUT_CHORDS else "") + body
        if name not in _NOT_WHEN_FULL:
            body = (_SHEBANG if version >= _SHEBANG_VERSION else _FIRST_WRITE) + body
        source = body.encode()
        return Script(name, source, hashlib.sha1(source, usedforsecurity=False).hexdigest())

    return Scripts(**{name: load(name) for name in Scripts.__struct_fields__})
