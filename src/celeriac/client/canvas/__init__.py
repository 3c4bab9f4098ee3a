"""Workflows: signatures and what is made of them. `signature` is their base; `plan` says how one begins, in client and worker.

Everything but the classes of signatures is pure, and works on plain dicts as they travel.
"""

from __future__ import annotations

# Each registers the kind of signature that it is for.
from celeriac.client.canvas import chain, chord, group, maps

__all__ = ["chain", "chord", "group", "maps"]
