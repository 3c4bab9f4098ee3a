"""Sealed bodies and results: AES-256-GCM with a key that the whole cluster shares, made of a secret of any length.

    celeriac-sealed-1 <key id> <content type> <content encoding>\\n<salt: 16 bytes><nonce: 12 bytes><sealed data, tag at the end>

Key id is hexadecimal and tells nothing of the key.  Each piece has a key of its own, HMAC-SHA256 of the secret over the salt, so that
no number of messages uses a key up.  What is sealed can be opened only as what it was sealed for: the first line, and kind, task name
and task id of the subject, are part of what the tag covers.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Any, Final

from celeriac.exceptions import EncodeError, ImproperlyConfigured, SecurityError
from celeriac.wire.signing_hmac import check_keys, new_hmac

CONTENT_TYPE: Final = "application/x-celeriac-sealed"

_VERSION: Final = "celeriac-sealed-1"
_KEY_ID_OF: Final = b"celeriac-sealed-key-id"
_HEAD_MAX_BYTES: Final = 512
_WORD: Final = re.compile(r"[!-~]{1,100}\Z")
_HEAD: Final = re.compile(rb"celeriac-sealed-1 ([0-9a-f]{16}) ([!-~]{1,100}) ([!-~]{1,100})\Z")
_SALT_BYTES: Final = 16
_NONCE_BYTES: Final = 12


class SealingKeys:
    """Keys to seal with (the first) and to open with (all of them). Thread-safe."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        """Raises `ImproperlyConfigured` for no key, for one of less than 16 bytes, and where `cryptography` is not installed."""
        check_keys("security_encryption_key", keys)
        self._crypto: Final = _Crypto()
        self._keys: Final = {_id_of(key): key for key in keys}

    @property
    def ids(self) -> tuple[str, ...]:
        """The names of the keys; that of the one that seals comes first."""
        return tuple(self._keys)

    def seal(self, subject: Sequence[str], content_type: str, content_encoding: str, data: bytes) -> bytes:
        """Return the data sealed for this subject. Raises `EncodeError` for odd content types."""
        for word in (content_type, content_encoding):
            if not _WORD.match(word):
                raise EncodeError(
                    f"content type or encoding {word!r:.80} cannot be sealed: ASCII without spaces is needed"
                )
        head = f"{_VERSION} {self.ids[0]} {content_type} {content_encoding}".encode("ascii")
        salt, nonce = os.urandom(_SALT_BYTES), os.urandom(_NONCE_BYTES)
        cipher = self._crypto.cipher(_own_key(self._keys[self.ids[0]], salt))
        sealed: bytes = cipher.encrypt(nonce, data, _bound(head, subject))
        return b"".join((head, b"\n", salt, nonce, sealed))

    def open(self, subject: Sequence[str], sealed: bytes) -> tuple[str, str, bytes]:
        """Return content type, content encoding and data. Raises `SecurityError` for what was not sealed so, and for this."""
        end = sealed.find(b"\n", 0, _HEAD_MAX_BYTES)
        head = sealed[: max(end, 0)]
        words = _HEAD.match(head)
        if words is None:
            raise SecurityError("not sealed: the data do not begin as those of celeriac-sealed-1 do")
        key_id, content_type, content_encoding = (word.decode("ascii") for word in words.groups())
        key = self._keys.get(key_id)
        if key is None:
            raise SecurityError(
                f"sealed with the unknown key {key_id}: security_encryption_key has {', '.join(self._keys)}"
            )
        start = end + 1 + _SALT_BYTES
        salt, nonce, data = (
            sealed[end + 1 : start],
            sealed[start : start + _NONCE_BYTES],
            sealed[start + _NONCE_BYTES :],
        )
        try:
            if len(nonce) != _NONCE_BYTES:
                raise ValueError("cut off")
            opened: bytes = self._crypto.cipher(_own_key(key, salt)).decrypt(nonce, data, _bound(head, subject))
        except (ValueError, self._crypto.refused):
            raise SecurityError(
                "the seal does not hold: the data were changed, or sealed for another task or id"
            ) from None
        return content_type, content_encoding, opened


def _bound(head: bytes, subject: Sequence[str]) -> bytes:
    parts = [head, *(word.encode("utf-8", "surrogatepass") for word in subject)]
    return b"".join(len(part).to_bytes(8, "big") + part for part in parts)


def _own_key(key: bytes, salt: bytes) -> bytes:
    return new_hmac(key, b"celeriac-sealed-1 key" + salt).digest()


def _id_of(key: bytes) -> str:
    return new_hmac(key, _KEY_ID_OF).hexdigest()[:16]


class _Crypto:
    """What we need of the package `cryptography` for this, loaded when it is needed."""

    def __init__(self) -> None:
        try:
            from cryptography.exceptions import InvalidTag
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        except ImportError:
            raise ImproperlyConfigured(
                "the serializer 'sealed' needs the package cryptography: pip install 'celeriac[auth]'"
            ) from None
        self.cipher: Any = AESGCM
        self.refused = InvalidTag
