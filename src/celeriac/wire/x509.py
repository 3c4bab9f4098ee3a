"""Bodies signed with an RSA key and an X.509 certificate: Celery's serializer `auth`.

The whole is base64 of five fields with `00 01` between them: base64 of the signer's name (issuer and serial number of the
certificate), base64 of the signature, content type, content encoding, body.  The signature (RSA-PSS) covers the body alone.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, Final

from celeriac.exceptions import EncodeError, ImproperlyConfigured, SecurityError

_SEPARATOR: Final = b"\x00\x01"
_FIELDS: Final = 5


class X509Keys:
    """A private key with its certificate to sign with, and certificates to verify with; either may be missing.

    Args:
        key, certificate: PEM; both or none.
        password: of the private key.
        store: trusted certificates by the names of their files, which are for messages only.
        digest: name of a hash of the package `cryptography`, as `sha256`.
        clock: gives Unix seconds, for the time in which certificates are valid.

    Raises `ImproperlyConfigured` for what cannot be used.  Thread-safe.
    """

    def __init__(
        self,
        *,
        key: bytes | None,
        password: bytes | None,
        certificate: bytes | None,
        store: Iterable[tuple[str, bytes]],
        digest: str,
        clock: Callable[[], float],
    ) -> None:
        self._crypto: Final = _Crypto(digest)
        self._clock = clock
        self._key = None if key is None else self._crypto.private_key(key, password)
        own = None if certificate is None else self._crypto.certificate(certificate, "security_certificate")
        if own is not None and self._key is not None and not _belong_together(self._key, own):
            raise ImproperlyConfigured("security_key and security_certificate do not belong together")
        self._signer = None if own is None else name_of(own)
        self._trusted: dict[str, Any] = {}
        for file, pem in store:
            trusted = self._crypto.certificate(pem, file)
            if name_of(trusted) in self._trusted:
                raise ImproperlyConfigured(
                    f"security_cert_store has the certificate {name_of(trusted)!r} twice: {file}"
                )
            self._trusted[name_of(trusted)] = trusted
        if own is not None:
            self._check_time(own, ImproperlyConfigured, "security_certificate")

    def wrap(self, content_type: str, content_encoding: str, body: bytes) -> bytes:
        """Return the signed form. Raises `EncodeError` when there is no key."""
        if self._key is None or self._signer is None:
            raise EncodeError("serializer 'auth' needs security_key and security_certificate to sign with")
        signature = self._crypto.sign(self._key, body)
        fields = (
            base64.b64encode(self._signer.encode()),
            base64.b64encode(signature),
            content_type.encode(),
            content_encoding.encode(),
            body,
        )
        return base64.b64encode(_SEPARATOR.join(fields))

    def unwrap(self, data: bytes) -> tuple[str, str, bytes]:
        """Return content type, content encoding and body, once the signature was found right. Raises `SecurityError`."""
        try:
            fields = base64.b64decode(data).split(_SEPARATOR, _FIELDS - 1)
            if len(fields) != _FIELDS:
                raise ValueError("fields are missing")
            signer = base64.b64decode(fields[0]).decode()
            signature = base64.b64decode(fields[1])
            content_type, content_encoding = fields[2].decode("ascii"), fields[3].decode("ascii")
        except (ValueError, binascii.Error):
            raise SecurityError("not signed: the data are not in the form of the serializer 'auth'") from None
        certificate = self._trusted.get(signer)
        if certificate is None:
            raise SecurityError(
                f"signed with an unknown certificate, {signer!r:.200}: security_cert_store does not have it"
            )
        self._check_time(certificate, SecurityError, f"signed with the certificate {signer!r:.200}, which")
        if not self._crypto.holds(certificate, signature, fields[4]):
            raise SecurityError(f"the signature of {signer!r:.200} does not hold: the body was changed")
        return content_type, content_encoding, fields[4]

    def _check_time(self, certificate: Any, error: type[Exception], what: str) -> None:
        now = datetime.fromtimestamp(self._clock(), UTC)
        if now >= certificate.not_valid_after_utc:
            raise error(f"{what} has expired on {certificate.not_valid_after_utc.isoformat()}")
        if now < certificate.not_valid_before_utc:
            raise error(f"{what} is not valid before {certificate.not_valid_before_utc.isoformat()}")


def name_of(certificate: Any) -> str:
    """Return what Celery calls a certificate: the values of its issuer, and its serial number."""
    issuer = " ".join(str(attribute.value) for attribute in certificate.issuer)
    return f"{issuer} {certificate.serial_number}"


class _Crypto:
    """The few things that we need of the package `cryptography`, which is loaded here and nowhere else."""

    def __init__(self, digest: str) -> None:
        try:
            from cryptography import exceptions, x509
            from cryptography.hazmat.primitives import hashes, serialization
            from cryptography.hazmat.primitives.asymmetric import padding, rsa
        except ImportError:
            raise ImproperlyConfigured(
                "the serializer 'auth' needs the package cryptography: pip install 'celeriac[auth]'"
            ) from None
        kind = getattr(hashes, digest.upper(), None)
        if not (isinstance(kind, type) and issubclass(kind, hashes.HashAlgorithm)):
            raise ImproperlyConfigured(f"security_digest = {digest!r}: name a hash, such as 'sha256' or 'sha512'")
        try:
            self._digest: Any = kind()
        except TypeError:
            raise ImproperlyConfigured(f"security_digest = {digest!r}: this hash has no fixed length") from None
        self._padding = padding.PSS(mgf=padding.MGF1(self._digest), salt_length=padding.PSS.MAX_LENGTH)
        self._rsa = rsa
        self._load_certificate = x509.load_pem_x509_certificate
        self._load_key = serialization.load_pem_private_key
        self._wrong_signature = exceptions.InvalidSignature
        self._unreadable = (ValueError, TypeError, exceptions.UnsupportedAlgorithm, x509.InvalidVersion)

    def private_key(self, pem: bytes, password: bytes | None) -> Any:
        try:
            key = self._load_key(pem, password=password)
        except self._unreadable as error:
            raise ImproperlyConfigured(
                f"security_key is no private key in PEM, or its password is wrong: {error}"
            ) from None
        if not isinstance(key, self._rsa.RSAPrivateKey):
            raise ImproperlyConfigured("security_key must be an RSA key: other kinds are not supported")
        return key

    def certificate(self, pem: bytes, where: str) -> Any:
        try:
            found = self._load_certificate(pem)
            key = found.public_key()
            # These are parsed when they are asked for: what is wrong with them has to be found now.
            name_of(found), found.not_valid_before_utc, found.not_valid_after_utc
        except self._unreadable as error:
            raise ImproperlyConfigured(f"{where} is no certificate in PEM that can be read: {error}") from None
        if not isinstance(key, self._rsa.RSAPublicKey):
            raise ImproperlyConfigured(f"{where} must have an RSA key: other kinds are not supported")
        return found

    def sign(self, key: Any, body: bytes) -> bytes:
        signature: bytes = key.sign(body, self._padding, self._digest)
        return signature

    def holds(self, certificate: Any, signature: bytes, body: bytes) -> bool:
        try:
            certificate.public_key().verify(signature, body, self._padding, self._digest)
        except self._wrong_signature:
            return False
        return True


def _belong_together(key: Any, certificate: Any) -> bool:
    return bool(key.public_key().public_numbers() == certificate.public_key().public_numbers())
