"""Signed and sealed bodies: which serializers do that, what they bind it to, and the keys that wire code is handed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from celeriac.wire import sealing, signing_hmac

if TYPE_CHECKING:
    from celeriac.wire.sealing import SealingKeys
    from celeriac.wire.signing_hmac import HmacKeys
    from celeriac.wire.x509 import X509Keys

X509: Final = "auth"
X509_TYPE: Final = "application/data"
"""Celery's, though it says nothing."""
HMAC: Final = "hmac"
HMAC_TYPE: Final = signing_hmac.CONTENT_TYPE
SEALED: Final = "sealed"
SEALED_TYPE: Final = sealing.CONTENT_TYPE

TASK: Final = "task"
RESULT: Final = "result"


def is_sealed(serializer: str) -> bool:
    """Tell whether a serializer, by name or content type, hides what it writes."""
    return serializer in (SEALED, SEALED_TYPE)


class Subject(NamedTuple):
    """What an HMAC or a seal is bound to, besides the data: it does not hold for anything else."""

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
        """Name of the serializer whose bytes are signed or sealed."""

    def hmac(self) -> HmacKeys: ...

    def x509(self) -> X509Keys: ...

    def sealing(self) -> SealingKeys: ...


class Signed(NamedTuple):
    """Content type, content encoding and data: outside of a signature or seal, or inside."""

    content_type: str
    content_encoding: str
    data: bytes


def sign(
    serializer: str, keys: Keys, subject: Subject, content_type: str, content_encoding: str, data: bytes
) -> Signed:
    """Wrap data with a signature, or seal them. Raises `EncodeError`, and `ImproperlyConfigured` when there is no key."""
    if serializer in (HMAC, HMAC_TYPE):
        return Signed(HMAC_TYPE, "binary", keys.hmac().wrap(subject, content_type, content_encoding, data))
    if serializer in (SEALED, SEALED_TYPE):
        return Signed(SEALED_TYPE, "binary", keys.sealing().seal(subject, content_type, content_encoding, data))
    return Signed(X509_TYPE, "utf-8", keys.x509().wrap(content_type, content_encoding, data))


def verify(content_type: str, keys: Keys, subject: Subject, data: bytes) -> Signed:
    """Unwrap signed or sealed data. Raises `SecurityError` when the signature does not hold, or the seal."""
    if content_type == HMAC_TYPE:
        return Signed(*keys.hmac().unwrap(subject, data))
    if content_type == SEALED_TYPE:
        return Signed(*keys.sealing().open(subject, data))
    return Signed(*keys.x509().unwrap(data))
