"""Signed bodies: which serializers sign, what a signature is bound to, and the keys that wire code is handed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from celeriac.wire import signing_hmac

if TYPE_CHECKING:
    from celeriac.wire.signing_hmac import HmacKeys
    from celeriac.wire.x509 import X509Keys

X509: Final = "auth"
X509_TYPE: Final = "application/data"
"""Celery's, though it says nothing."""
HMAC: Final = "hmac"
HMAC_TYPE: Final = signing_hmac.CONTENT_TYPE

TASK: Final = "task"
RESULT: Final = "result"


class Subject(NamedTuple):
    """What an HMAC is bound to, besides the data: it does not hold for anything else."""

    kind: str
    """`TASK` or `RESULT`."""
    name: str
    """The task's."""
    id: str
    """The task's."""


NOBODY: Final = Subject("", "", "")


class Keys(Protocol):
    """Keys by kind; each method raises `ImproperlyConfigured` when there are none, or they cannot be read."""

    @property
    def inner(self) -> str:
        """Name of the serializer whose bytes are signed."""

    def hmac(self) -> HmacKeys: ...

    def x509(self) -> X509Keys: ...


class Signed(NamedTuple):
    """Content type, content encoding and data: outside of a signature, or inside."""

    content_type: str
    content_encoding: str
    data: bytes


def sign(
    serializer: str, keys: Keys, subject: Subject, content_type: str, content_encoding: str, data: bytes
) -> Signed:
    """Wrap data with a signature. Raises `EncodeError`, and `ImproperlyConfigured` when there is no key."""
    if serializer in (HMAC, HMAC_TYPE):
        return Signed(HMAC_TYPE, "binary", keys.hmac().wrap(subject, content_type, content_encoding, data))
    return Signed(X509_TYPE, "utf-8", keys.x509().wrap(content_type, content_encoding, data))


def verify(content_type: str, keys: Keys, subject: Subject, data: bytes) -> Signed:
    """Unwrap signed data. Raises `SecurityError` when the signature does not hold."""
    if content_type == HMAC_TYPE:
        return Signed(*keys.hmac().unwrap(subject, data))
    return Signed(*keys.x509().unwrap(data))
