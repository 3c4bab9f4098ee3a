"""What the store of results is told about a chord before its header is sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from celeriac.core.workflow import ChordOpening
from celeriac.exceptions import ImproperlyConfigured
from celeriac.wire import chord_part

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac


def opening_of(app: Celeriac, group_id: str, size: int, body: Mapping[str, Any], serializer: str) -> ChordOpening:
    """Return the opening of a chord with so many members; `serializer`: name or content type, that of their messages.

    Raises `ImproperlyConfigured` when the app's backend can't count, `EncodeError` for a body that can't be written.
    """
    if not app.backend.counts_chords:
        raise uncounted(app)
    written = chord_part.encode_body(dict(body), serializer, app.content.keys)
    return ChordOpening(group_id, size, app.settings.chord_expires_s, written)


def uncounted(app: Celeriac) -> ImproperlyConfigured:
    """Return the error for a chord on a backend that can't tell its last member from the others."""
    return ImproperlyConfigured(
        f"a chord (also a group followed by a task) needs a result backend that counts its members, and {app.backend.shown_url()}"
        " does not: give the app another one, such as backend='redis://localhost/1' or 'db+postgresql://...'"
    )
