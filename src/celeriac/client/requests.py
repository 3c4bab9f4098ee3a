"""Asking workers: a request is sent to all, and the replies of those who are meant are collected."""

from __future__ import annotations

import queue
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from celeriac.client.letters import letters_of
from celeriac.client.signing import sign_request
from celeriac.core.addresses import control_address
from celeriac.exceptions import ArgumentError
from celeriac.wire.control import Reply, ReplyTo, Request, encode_request

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac
    from celeriac.client.correspondence import Answers
    from celeriac.core.message import Message

ReplyOf = dict[str, Any]
"""What one node replied: {node: payload}."""

CLOCKS_APART_S: Final = 30.0
"""A worker whose clock is ahead by so much heeds a request all the same."""


def broadcast(
    app: Celeriac,
    command: str,
    arguments: Mapping[str, Any],
    *,
    destination: Sequence[str] | None,
    pattern: str | None,
    matcher: str | None,
    reply: bool,
    timeout: float | None,
    limit: int | None,
    callback: Callable[[ReplyOf], object] | None,
) -> list[ReplyOf] | None:
    """Send a request, and return the replies if they are wanted; see `Control.broadcast`."""
    _check(command, destination, pattern, matcher)
    settings, letters = app.settings, letters_of(app)
    ticket = str(uuid.uuid4()) if reply else None
    mailbox = letters.correspondence.mailbox
    request = Request(
        command,
        dict(arguments),
        list(destination) if destination is not None else None,
        pattern,
        matcher,
        ticket,
        ReplyTo(mailbox.address.exchange, mailbox.routing_key) if reply else None,
        app.clock.forward(),
        time.time() + timeout + CLOCKS_APART_S if timeout else 0.0,
    )
    letter: Message = encode_request(request, control_address(settings), settings.control_max_bytes)
    sign_request(app, letter)
    if ticket is None:
        letters.correspondence.post(letter)
        return None
    if limit is None and destination:
        limit = len(set(destination))
    answers = letters.correspondence.ask(letter, ticket)
    try:
        return _collect(answers, timeout, limit, callback)
    finally:
        letters.correspondence.forget(ticket)


def _collect(
    answers: Answers, timeout: float | None, limit: int | None, callback: Callable[[ReplyOf], object] | None
) -> list[ReplyOf]:
    until = None if timeout is None else time.monotonic() + timeout
    replies: list[ReplyOf] = []
    while limit is None or len(replies) < limit:
        try:
            answer = answers.get(timeout=None if until is None else max(0.0, until - time.monotonic()))
        except queue.Empty:
            break
        if not isinstance(answer, Reply):
            raise answer
        replies.append({answer.node: answer.payload})
        if callback is not None:
            callback(replies[-1])
    return replies


def _check(command: object, destination: object, pattern: object, matcher: object) -> None:
    if not isinstance(command, str) or not command:
        raise ArgumentError(f"a command is a text, not {command!r:.80}")
    if destination is not None and (
        not isinstance(destination, list | tuple | set | frozenset)
        or not all(isinstance(node, str) for node in destination)
    ):
        raise ArgumentError(f"destination={destination!r:.80}: a list of node names is wanted")
    if pattern is not None and not isinstance(pattern, str):
        raise ArgumentError(f"pattern={pattern!r:.80}: a text is wanted")
    if matcher is not None and matcher not in ("glob", "pcre"):
        raise ArgumentError(f"matcher={matcher!r:.80}: 'glob' or 'pcre' is wanted")
