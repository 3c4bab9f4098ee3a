"""Messages on their way into Redis: which commands put a batch there, all of it or nothing."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, Final

from celeriac.brokers.redis.keys import Keys
from celeriac.brokers.redis.routing import declarations
from celeriac.core.boards import BOARD_KEPT_S, Move
from celeriac.core.ids import uuid7
from celeriac.core.message import Message
from celeriac.core.queues import PRIVATE_MARK, QueueTable
from celeriac.transports.redis.boards import move_words
from celeriac.transports.redis.protocol import Word
from celeriac.transports.redis.scripts import load_scripts
from celeriac.wire import redis_envelope

_VALUES_PER_COMMAND: Final = 1000
_PRIVATE_KEPT_S: Final = 86_400
"""How long a worker's own queue may be left unread."""


def envelopes(messages: Sequence[Message], now: float) -> Iterator[tuple[Message, bytes]]:
    """Yield each message with its envelope, under a delivery tag that tells its age."""
    randomness = os.urandom(10 * len(messages))
    for number, message in enumerate(messages):
        tag = uuid7(now, randomness[10 * number : 10 * number + 10])
        yield message, redis_envelope.encode(message, tag)


def is_delayed(message: Message, now: float) -> bool:
    """Tell whether a message has to wait."""
    return message.not_before is not None and message.not_before > now


def unpack_texts(packed: bytes) -> list[bytes]:
    """Read what the scripts' `pack` wrote."""
    texts, at = [], 0
    while at < len(packed):
        colon = packed.index(b":", at)
        end = colon + 1 + int(packed[at:colon])
        texts.append(packed[colon + 1 : end])
        at = end
    return texts


def publish_commands(
    keys: Keys,
    messages: Sequence[Message],
    now: float,
    known_queues: Collection[str],
    announced: Iterable[tuple[str, Message]] = (),
) -> list[Sequence[Word]]:
    """Return the commands that publish a batch: one command, or a transaction of several.

    `announced` goes to channels, for Celery's workers that have subscribed.

    Queues that are not among `known_queues` are made known with them. Raises `EncodeError`.
    """
    lists: dict[str, list[bytes]] = {}
    delayed: dict[str, list[Word]] = {}
    unknown: dict[str, None] = {}  # a set that keeps its order
    for message, envelope in envelopes(messages, now):
        queue = message.queue
        list_key = keys.list_for(queue, message.priority)
        if is_delayed(message, now):
            assert message.not_before is not None
            told = int(message.headers.get("eta") is not None)
            delayed.setdefault(keys.delayed(queue), []).extend((repr(message.not_before), list_key, envelope, told))
            unknown[queue] = None  # said each time: were the set of queues lost, nobody would look after the delay
        else:
            lists.setdefault(list_key, []).append(envelope)
            if queue not in known_queues:
                unknown[queue] = None
    commands: list[Sequence[Word]] = []
    for channel, message in announced:
        commands += (["PUBLISH", channel, envelope] for _, envelope in envelopes([message], now))
    if unknown:
        commands.append(["SADD", keys.queues, *unknown])
    for list_key, values in lists.items():
        commands += (["LPUSH", list_key, *part] for part in _parts(values, _VALUES_PER_COMMAND))
        if PRIVATE_MARK in list_key:  # its worker may just have died
            commands.append(["EXPIRE", list_key, _PRIVATE_KEPT_S])
    for delayed_key, words in delayed.items():
        # By EVAL, not EVALSHA: in a transaction there is no second try when the server does not know a script.
        head: list[Word] = ["EVAL", load_scripts(()).delay.source, 2, keys.workers, delayed_key]
        commands += ([*head, *part] for part in _parts(words, 4 * _VALUES_PER_COMMAND))
    if len(commands) > 1:
        return [["MULTI"], *commands, ["EXEC"]]
    return commands


def once_words(
    keys: Keys, move: Move, messages: Sequence[Message], now: float, announced: Sequence[tuple[str, Message]]
) -> list[Word]:
    """Return ARGV of the script `publish_once`. Raises `EncodeError`."""
    words: list[Word] = [BOARD_KEPT_S, *move_words(move), len(announced)]
    for channel, message in announced:
        words += (part for _, envelope in envelopes([message], now) for part in (channel, envelope))
    for message, envelope in envelopes(messages, now):
        words += (message.queue, keys.list_for(message.queue, message.priority), envelope)
        if is_delayed(message, now):
            words += (
                keys.delayed(message.queue),
                repr(message.not_before),
                int(message.headers.get("eta") is not None),
            )
        else:
            words += ("", "", "")
    return words


def declare_arguments(keys: Keys, queues: Iterable[str], table: QueueTable) -> tuple[list[str], list[Word]]:
    """Return KEYS and ARGV of the script `declare`."""
    names: list[str] = []
    entries: list[tuple[str, str, str]] = []
    for queue in dict.fromkeys(queues):
        declared = table.get(queue)
        if declared is not None and declared.ways:
            names += [] if declared.is_broadcast else [declared.name]
            entries += declarations(keys, declared)
        else:
            names.append(queue)
            entries += ((key, "", member) for key, member in keys.bindings(queue))
    return [keys.queues, *(key for key, _, _ in entries)], [
        len(names),
        *names,
        *(word for _, field, value in entries for word in (field, value)),
    ]


def _parts(values: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(values), size):
        yield values[start : start + size]
