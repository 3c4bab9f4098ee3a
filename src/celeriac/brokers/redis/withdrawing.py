"""Taking revoked messages out of the delay."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Final

from celeriac.brokers.redis.keys import Keys
from celeriac.brokers.redis.names import readable
from celeriac.brokers.redis.outgoing import envelopes, unpack_texts
from celeriac.core.message import Message
from celeriac.core.ports import Conclude
from celeriac.core.revoking import Sought
from celeriac.exceptions import BadMessage
from celeriac.transports.redis.blocking import Pool
from celeriac.transports.redis.protocol import Word
from celeriac.wire import redis_envelope

_LOOKED_AT_ONCE: Final = 1000
"""A step of Redis must not keep it from others for long."""
_IDS_AT_ONCE: Final = 5000
_IN_EVERY_ENVELOPE: Final = '"'


def withdraw_delayed(pool: Pool, keys: Keys, sought: Sought, conclude: Conclude, until: float) -> int:
    """Take what is sought out of every delayed set; stop at `until` (monotonic seconds). Returns how many messages it was."""
    taken = 0
    (queues,) = pool.ask(["SMEMBERS", keys.queues], deadline=until)
    for queue in readable(queues):
        for start in range(0, max(len(sought.task_ids), 1), _IDS_AT_ONCE):
            ids = sought.task_ids[start : start + _IDS_AT_ONCE]
            taken += _withdraw_of(pool, keys, queue, [len(ids), *ids, *_texts(sought)], sought, conclude, until)
    return taken


def _texts(sought: Sought) -> list[str]:
    """Return what stands in the envelope of a message with one of the stamps, whichever program wrote it."""
    # What JSON may write in several ways has no such text; the quotation mark is in every envelope.
    texts = [json.dumps(name) if _is_plain(name) else _IN_EVERY_ENVELOPE for name in sought.stamp_names]
    if not all(map(_is_plain, sought.task_ids)):
        texts.append(_IN_EVERY_ENVELOPE)
    return texts


def _is_plain(text: str) -> bool:
    return text.isascii() and json.dumps(text) == f'"{text}"'


def _withdraw_of(
    pool: Pool, keys: Keys, queue: str, words: Sequence[Word], sought: Sought, conclude: Conclude, until: float
) -> int:
    delayed = keys.delayed(queue)
    cursor: Word = "0"
    taken = 0
    while time.monotonic() < until:
        cursor, *members = pool.run("delayed", [delayed], cursor, _LOOKED_AT_ONCE, *words, deadline=until)
        found = [(member, message) for member in members if (message := _read(member, queue, sought)) is not None]
        if found:
            taken += _replace(pool, keys, delayed, found, conclude([message for _, message in found]), until)
        if cursor == b"0":
            break
    return taken


def _read(member: bytes, queue: str, sought: Sought) -> Message | None:
    try:
        message = redis_envelope.decode(unpack_texts(member)[1], queue)
    except (BadMessage, ValueError, IndexError):
        return None  # whoever claims it finds out what it is
    return message if sought.covers(message.headers) else None


def _replace(
    pool: Pool,
    keys: Keys,
    delayed: str,
    found: Sequence[tuple[bytes, Message]],
    replacements: Sequence[Message | None],
    until: float,
) -> int:
    words: list[Word] = []
    for (member, _), replacement in zip(found, replacements, strict=True):
        if replacement is None:
            words += (member, "", "")
        else:
            ((_, envelope),) = envelopes([replacement], time.time())
            words += (member, keys.list_for(replacement.queue, replacement.priority), envelope)
    return int(pool.run("withdraw", [delayed], *words, deadline=until))
