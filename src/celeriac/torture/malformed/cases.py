"""The whole list."""

from __future__ import annotations

import uuid

from celeriac.torture.malformed.bodies import bodies
from celeriac.torture.malformed.case import ENDED, Case, Raw, Target
from celeriac.torture.malformed.envelopes import envelopes
from celeriac.torture.malformed.heads import heads


def all_cases(place: str, target: Target, queue: str, *, heavy: bool = True) -> list[Case]:
    """Return every malformed message that a place (`redis`, `rabbitmq`, `sqlite`) can be given, for a queue of it.

    Without `heavy` bombs are just large enough, and so are other messages: for who has no minute to spend.
    """
    made = [*bodies(target, heavy=heavy), *heads(target), *envelopes(target, queue), *_twins(target), *_others(target)]
    return [case for case in made if place in case.places]


def _twins(target: Target) -> list[Case]:
    """Two messages with one id and different bodies."""
    headers = target.headers(id=str(uuid.uuid4()))
    return [Case(f"twin {number}", Raw(target.body(f"twin {number}"), headers), end=ENDED) for number in (1, 2)]


def _others(target: Target) -> list[Case]:
    """Messages of protocol 1, which has no headers, with what must not be opened outside of an executor."""
    made = {
        "protocol 1: junk": b'{"task": 7, "id": "i"}',
        "protocol 1: no id": b'{"task": "work", "args": []}',
        "protocol 1: callbacks text": b'{"task": "work", "id": "i", "args": [], "kwargs": {}, "callbacks": "x"}',
    }
    unknown = Raw(b'{"task": "no_such_task", "id": "i", "args": [], "kwargs": {}}', {})  # parked in its new form
    return [Case(name, Raw(body, {})) for name, body in made.items()] + [
        Case("protocol 1: unknown task", unknown, end=ENDED)
    ]
