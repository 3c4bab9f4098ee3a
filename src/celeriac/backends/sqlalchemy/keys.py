"""Ids as they stand in key columns."""

from __future__ import annotations

import hashlib
import re
from typing import Final

from celeriac.backends.sqlalchemy.tables import KEY_MAX

_PLAIN: Final = re.compile(rf"[!-~]{{1,{KEY_MAX}}}")
_HEAD: Final = 80


def key_of(identifier: str) -> str:
    """Return an id as it stands in a table: itself if every database takes it, else its beginning and a digest of all of it.

    Idempotent, so that a key can be used as the id.
    """
    if _PLAIN.fullmatch(identifier):
        return identifier
    raw = identifier.encode("utf-8", "surrogatepass")
    head = re.sub(r"[^!-~]", "?", identifier[:_HEAD])
    return f"{head}#{hashlib.sha256(raw).hexdigest()}"
