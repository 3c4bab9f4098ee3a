"""Bodies signed by HMAC-SHA256 with a key that the whole cluster shares.

    celeriac-hmac-1 <key id> <content type> <content encoding> <signature>\\n<data>

All of the first line is ASCII without further spaces; key id and signature are hexadecimal.  The signature covers the word
before the first space, kind, task name and task id of the subject, content type, content encoding and data, each with its
length (8 bytes, big-endian) before it, so that no two different sets of fields give the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from celeriac.exceptions import EncodeError, ImproperlyConfigured, SecurityError

if TYPE_CHECKING:
    from hmac import HMAC

CONTENT_TYPE: Final = "application/x-celeriac-hmac"
MIN_KEY_BYTES: Final = 16

_VERSION: Final = b"celeriac-hmac-1"
_HEAD_MAX_BYTES: Final = 512
_WORD: Final = re.compile(r"[!-~]{1,100}\Z")
_HEAD: Final = re.compile(rb"celeriac-hmac-1 ([0-9a-f]{16}) ([!-~]{1,100}) ([!-~]{1,100}) ([0-9a-f]{64})\Z")
_KEY_ID_OF: Final = b"celeriac-hmac-key-id"


class HmacKeys:
    """Keys to sign with (the first) and to verify with (all of them), so that a new one can be brought in while others run."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        """Raises `ImproperlyConfigured` for no key at all, and for one of less than 16 bytes."""
        check_keys("security_hmac_key", keys)
        self._keys: Final = {_id_of(key): key for key in keys}
        self._first: Final = _id_of(keys[0])

    @property
    def ids(self) -> tuple[str, ...]:
        """The names of the keys, which tell nothing of them; that of the one that signs comes first."""
        return tuple(self._keys)

    def code(self, parts: Iterable[bytes]) -> str:
        """Return what the key that signs makes of these parts, in hexadecimal."""
        return _digest(self._keys[self._first], parts).hex()

    def holds(self, key_id: str, parts: Iterable[bytes], code: str) -> bool:
        """Tell whether a code was made of these parts. Raises `SecurityError` for a key that is not here."""
        return _are_equal(_digest(self._key(key_id), parts).hex().encode(), code.encode())

    def wrap(self, subject: Sequence[str], content_type: str, content_encoding: str, data: bytes) -> bytes:
        """Return the data with a signature for this subject before them. Raises `EncodeError` for odd content types."""
        for word in (content_type, content_encoding):
            if not _WORD.match(word):
                raise EncodeError(
                    f"content type or encoding {word!r:.80} cannot be signed: ASCII without spaces is needed"
                )
        signature = _sign(self._keys[self._first], subject, content_type, content_encoding, data)
        head = f"{_VERSION.decode()} {self._first} {content_type} {content_encoding} {signature.hex()}\n"
        return head.encode("ascii") + data

    def unwrap(self, subject: Sequence[str], signed: bytes) -> tuple[str, str, bytes]:
        """Return content type, content encoding and data, once the signature was found right. Raises `SecurityError`."""
        end = signed.find(b"\n", 0, _HEAD_MAX_BYTES)
        head = _HEAD.match(signed[: max(end, 0)])
        if head is None:
            raise SecurityError("not signed: the data do not begin with the signature of celeriac-hmac-1")
        key_id, content_type, content_encoding, signature = (word.decode("ascii") for word in head.groups())
        key = self._key(key_id)
        data = signed[end + 1 :]
        if not _are_equal(_sign(key, subject, content_type, content_encoding, data), bytes.fromhex(signature)):
            raise SecurityError("the signature does not hold: the data were changed, or signed for another task or id")
        return content_type, content_encoding, data

    def _key(self, key_id: str) -> bytes:
        key = self._keys.get(key_id)
        if key is None:
            raise SecurityError(f"signed with the unknown key {key_id}: security_hmac_key has {', '.join(self._keys)}")
        return key


def check_keys(setting: str, keys: Sequence[bytes]) -> None:
    """Raise `ImproperlyConfigured` for no key at all, and for one that is too short to be secret."""
    if not keys:
        raise ImproperlyConfigured(f"{setting} is empty: give a key, or a list of keys with the newest first")
    for number, key in enumerate(keys, 1):
        if len(key) < MIN_KEY_BYTES:
            raise ImproperlyConfigured(
                f"{setting}: key {number} has {len(key)} bytes, and at least {MIN_KEY_BYTES} are needed;"
                ' make one with: python -c "import secrets; print(secrets.token_hex(32))"'
            )


def new_hmac(key: bytes, message: bytes | None = None) -> HMAC:
    """Return the HMAC by SHA-256 of a message, to which more may be added."""
    import hmac  # with OpenSSL: 3 ms and 4 MB that programs which sign nothing do not need

    return hmac.new(key, message, "sha256")


def _are_equal(code: bytes, other: bytes) -> bool:
    import hmac  # as above

    return hmac.compare_digest(code, other)


def _sign(key: bytes, subject: Sequence[str], content_type: str, content_encoding: str, data: bytes) -> bytes:
    texts = [word.encode("utf-8", "surrogatepass") for word in (*subject, content_type, content_encoding)]
    return _digest(key, (_VERSION, *texts, data))


def _digest(key: bytes, parts: Iterable[bytes]) -> bytes:
    """Return the code of several parts, each with its length before it: no other division gives the same."""
    digest = new_hmac(key)
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.digest()


def _id_of(key: bytes) -> str:
    """Return a name for the key that tells nothing of it."""
    return new_hmac(key, _KEY_ID_OF).hexdigest()[:16]
