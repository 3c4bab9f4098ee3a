"""Calls that have been written down but not made, and the workflows that are made of them: Celery's names."""

from __future__ import annotations

from celeriac.client.canvas.chain import _chain, chain
from celeriac.client.canvas.chord import _chord, chord
from celeriac.client.canvas.group import group
from celeriac.client.canvas.maps import chunks, xmap, xstarmap
from celeriac.client.canvas.signature import Signature, maybe_signature, signature
from celeriac.client.canvas.stamping import GroupStampingVisitor, StampingVisitor

subtask = signature
"""An older name."""

__all__ = [
    "GroupStampingVisitor",
    "Signature",
    "StampingVisitor",
    "_chain",
    "_chord",
    "chain",
    "chord",
    "chunks",
    "group",
    "maybe_signature",
    "signature",
    "subtask",
    "xmap",
    "xstarmap",
]
