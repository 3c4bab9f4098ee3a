"""Signed messages: a header whose code covers the whole message, its place and the moment of signing.

    celeriac_signature: 1 <key id> <milliseconds> <nonce> <place> <code>

Key id, nonce and code are hexadecimal, the milliseconds are Unix time, the place is `q:` and the queue's name or `x:` and the
exchange's (for a message that an exchange deals out), percent-encoded.  The code is an HMAC-SHA256 over what stands before it, content
type, content encoding, `reply_to`, `correlation_id`, all headers but those that brokers and workers write on the way, and the body
as it travels; each with its length before it.

Celery's workers pass over the header, so that such a message can be read by them as well.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final
from urllib.parse import quote, unquote

from msgspec import Struct

from celeriac.core.headers import CRASHES, LOSSES, SIGNATURE, SLOT, with_escaped_texts
from celeriac.core.message import Message
from celeriac.exceptions import EncodeError, SecurityError
from celeriac.wire.signing_hmac import HmacKeys

_VERSION: Final = "1"
_FORM: Final = re.compile(
    r"1 ([0-9a-f]{16}) (\d{1,15}) ([0-9a-f]{32}) ([qx]):([!-~]{0,1000}) ([0-9a-f]{64})\Z", re.ASCII
)
_WRITTEN_ON_THE_WAY: Final = frozenset({SIGNATURE, CRASHES, LOSSES, SLOT, "redelivered"})
_OF_BROKERS: Final = "x-"
_PROPERTIES: Final = ("reply_to", "correlation_id")


class Signature(Struct, frozen=True):
    """What the header of a message says."""

    key_id: str
    signed_at: float
    """Unix seconds."""
    nonce: str
    """Different in each message that was ever signed: a copy is known by it."""
    by_exchange: bool
    """`place` is an exchange."""
    place: str
    code: str

    @property
    def _head(self) -> str:
        kind = "x" if self.by_exchange else "q"
        when_ms = round(self.signed_at * 1000)
        return f"{_VERSION} {self.key_id} {when_ms} {self.nonce} {kind}:{quote(self.place, safe='')}"


def sign(message: Message, keys: HmacKeys, now: float, nonce: str) -> None:
    """Sign a message that is ready to be sent, in place of any former signature; `now` in Unix seconds, `nonce` 32 hex digits.

    Raises `EncodeError` for headers that are no plain data.
    """
    by_exchange = not message.queue
    unsigned = Signature(keys.ids[0], now, nonce, by_exchange, message.exchange if by_exchange else message.queue, "")
    try:
        parts = _parts(message, unsigned._head)
    except (TypeError, ValueError, RecursionError) as error:
        raise EncodeError(
            f"task {message.task}[{message.id}] can't be signed, one of its headers is no plain data: {error}"
        ) from None
    message.headers[SIGNATURE] = f"{unsigned._head} {keys.code(parts)}"


def read(headers: dict[str, Any]) -> Signature | None:
    """Return what a message's signature says, unverified; None when there is none, or it has no proper form."""
    text = headers.get(SIGNATURE)
    found = _FORM.match(text) if isinstance(text, str) else None
    if found is None:
        return None
    key_id, when_ms, nonce, kind, place, code = found.groups()
    return Signature(key_id, int(when_ms) / 1000, nonce, kind == "x", unquote(place), code)


def verify(message: Message, keys: HmacKeys) -> Signature:
    """Return the signature of a message, once it was found right; its place and its time are for the caller to judge.

    Raises `SecurityError` that says what is wrong.
    """
    signature = read(message.headers)
    if signature is None:
        raise SecurityError(
            f"not signed: the message has no proper header {SIGNATURE!r}; its sender needs security_sign_messages and a key"
        )
    try:
        parts = _parts(message, signature._head)
    except (TypeError, ValueError, RecursionError):
        raise SecurityError("the signature does not hold: a header is no plain data") from None
    # The header itself, too: there is one way only to write what it says.
    same = message.headers[SIGNATURE] == f"{signature._head} {signature.code}"
    if not (keys.holds(signature.key_id, parts, signature.code) and same):
        raise SecurityError(
            "the signature of the message does not hold: its headers, its body or the signature were changed"
        )
    return signature


def _parts(message: Message, head: str) -> list[bytes]:
    signed = {
        name: value
        for name, value in with_escaped_texts(message.headers).items()
        if name not in _WRITTEN_ON_THE_WAY and not name.startswith(_OF_BROKERS)
    }
    texts = [head, message.content_type, message.content_encoding]
    texts += (str(message.properties.get(name) or "") for name in _PROPERTIES)
    texts.append(json.dumps(signed, sort_keys=True))
    return [*(text.encode("utf-8", "surrogatepass") for text in texts), message.body]
