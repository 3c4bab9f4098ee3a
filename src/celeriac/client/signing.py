"""Signing what an app sends, and judging what its workers are given: messages, requests to workers, revocations, and rates set at run time."""

from __future__ import annotations

import os
from collections.abc import Iterable, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec.structs import replace

from celeriac.core.headers import to_timestamp
from celeriac.core.message import Revocation
from celeriac.core.queues import public_queue
from celeriac.exceptions import CeleriacError, SecurityError
from celeriac.wire import message_signature, signing

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac
    from celeriac.core.message import Message
    from celeriac.wire.message_signature import Signature

CLOCKS_APART_S: Final = 300.0
"""So far the clock of a signer may be ahead."""
_NONCE_BYTES: Final = 16


def sign_messages(app: Celeriac, messages: Iterable[Message]) -> None:
    """Sign those messages that are to be signed; call it when nothing of them will be changed any more.

    Signing again makes another message of it.  Raises `ImproperlyConfigured` without a key, `EncodeError` for headers that are no
    plain data.
    """
    content, everything = app.content, app.settings.security_sign_messages
    for message in messages:
        if everything or message.content_type == signing.HMAC_TYPE:
            nonce = os.urandom(_NONCE_BYTES).hex()
            message_signature.sign(message, content.keys.hmac(), app.time_source.time(), nonce)


def check_message(app: Celeriac, message: Message, *, is_over: bool = False) -> None:
    """Raise `SecurityError` for a message that has to be signed and is not, or whose signature does not hold here and now.

    `is_over`: it has been accepted before, or will not be run, so that its age does not matter.
    """
    settings = app.settings
    by_content = message.content_type == signing.HMAC_TYPE and settings.security_require_signature is not False
    if not (by_content or app.content.requires_signatures):
        return
    signature = message_signature.verify(message, app.content.keys.hmac())
    _check_place(app, message, signature)
    if not is_over and settings.security_replay_window_s:
        _check_age(message, signature, app.time_source.time(), settings.security_replay_window_s)


def _check_place(app: Celeriac, message: Message, signature: Signature) -> None:
    if not signature.by_exchange:
        if signature.place != message.queue:
            raise SecurityError(
                f"signed for queue {signature.place!r:.200} and found in {message.queue!r}: it was moved by somebody without the key"
            )
        return
    queue = app.amqp.table.get(public_queue(message.queue))
    if queue is None or all(way.name != signature.place for way, _key in queue.ways):
        raise SecurityError(
            f"signed for exchange {signature.place!r:.200} and found in queue {message.queue!r}, which is not declared as bound to it:"
            " it was moved by somebody without the key, or the binding is missing in task_queues"
        )


def _check_age(message: Message, signature: Signature, now: float, window_s: float) -> None:
    eta = to_timestamp(message.headers.get("eta"), "eta") or 0.0
    age_s = now - max(signature.signed_at, eta)
    if age_s > window_s:
        raise SecurityError(
            f"signed too long ago: it is {age_s:.0f} s old (counted from its ETA), and security_replay_window_s is {window_s:g};"
            " if it is no copy, raise that for the time of a retry"
        )
    if signature.signed_at - now > CLOCKS_APART_S:
        raise SecurityError(
            f"signed {signature.signed_at - now:.0f} s in the future: set the clock of its sender, or of this machine"
        )


# -- what is set at run time ------------------------------------------------------------------------------------------


def sign_revocations(app: Celeriac, revocations: Sequence[Revocation]) -> list[Revocation]:
    """Return the revocations, signed where this app signs."""
    if not app.content.signs_control:
        return list(revocations)
    keys = app.content.keys.hmac()
    return [
        replace(one, signature=f"{keys.ids[0]} {keys.code(_revocation_parts(one, keys.ids[0]))}") for one in revocations
    ]


def holds_revocation(app: Celeriac, revocation: Revocation) -> bool:
    """Tell whether a revocation was signed by a key of this app, as it stands."""
    key_id, _, code = revocation.signature.partition(" ")
    return _holds(app, key_id, _revocation_parts(revocation, key_id), code)


def sign_rate(app: Celeriac, task_name: str, rate: str) -> str:
    """Return the text of a rate as it is kept, with a signature where this app signs."""
    if not app.content.signs_control:
        return rate
    keys = app.content.keys.hmac()
    when = repr(app.time_source.time())
    return f"{rate} {when} {keys.ids[0]} {keys.code(_rate_parts(task_name, rate, when, keys.ids[0]))}"


def plain_rate(kept: str) -> str:
    """Return a rate without its signature."""
    return kept.partition(" ")[0]


def holds_rate(app: Celeriac, task_name: str, kept: str) -> bool:
    """Tell whether a kept rate was signed for this task by a key of this app."""
    words = kept.split(" ")
    if len(words) != 4:
        return False
    rate, when, key_id, code = words
    return _holds(app, key_id, _rate_parts(task_name, rate, when, key_id), code)


def sign_request(app: Celeriac, letter: Message) -> None:
    """Sign a request to workers where this app signs; call it when nothing of it will be changed any more."""
    if app.content.signs_control:
        nonce = os.urandom(_NONCE_BYTES).hex()
        message_signature.sign(letter, app.content.keys.hmac(), app.time_source.time(), nonce)


def holds_request(app: Celeriac, letter: Message, seen: MutableMapping[str, float]) -> bool:
    """Tell whether a request was signed by a key of this app, just now, for this address, and is no copy of another.

    `seen` is the worker's memory of the requests that it has accepted: nonce -> until when (Unix seconds) copies of it could be accepted.
    """
    now = app.time_source.time()
    for nonce in [nonce for nonce, until in seen.items() if until < now]:
        del seen[nonce]
    try:
        signature = message_signature.verify(letter, app.content.keys.hmac())
    except SecurityError:
        return False
    in_place = signature.by_exchange and signature.place == letter.exchange
    if not in_place or abs(now - signature.signed_at) > CLOCKS_APART_S or signature.nonce in seen:
        return False
    seen[signature.nonce] = signature.signed_at + CLOCKS_APART_S
    return True


def _holds(app: Celeriac, key_id: str, parts: Sequence[bytes], code: str) -> bool:
    try:
        return app.content.keys.hmac().holds(key_id, parts, code)
    except SecurityError:
        return False


def _revocation_parts(revocation: Revocation, key_id: str) -> list[bytes]:
    said = (revocation.id, revocation.expires_at, revocation.terminate, revocation.signal)
    return [b"celeriac-revocation-1", key_id.encode(), *(_plain(part) for part in said)]


def _rate_parts(task_name: str, rate: str, when: str, key_id: str) -> list[bytes]:
    return [b"celeriac-rate-1", *(part.encode("utf-8", "surrogatepass") for part in (key_id, task_name, rate, when))]


def _plain(value: Any) -> bytes:
    try:
        return msgspec.json.encode(value)
    except (UnicodeError, msgspec.MsgspecError) as error:
        raise CeleriacError(f"{value!r:.80} can't be signed: {error}") from None
