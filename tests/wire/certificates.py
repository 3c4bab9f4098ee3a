"""Keys and certificates for tests, made on the spot."""

from __future__ import annotations

import functools
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

DAY = timedelta(days=1)
PASSWORD = b"a password"


class Identity:
    """A private key and its certificate, signed by itself; PEM.

    `valid` are days from now, `password` protects the key.
    """

    def __init__(self, name: str, valid: tuple[float, float] = (-1, 30), password: bytes | None = None) -> None:
        self.name = name
        self._key = _new_key(name)
        now = datetime.now(UTC)
        subject = x509.Name(
            [x509.NameAttribute(NameOID.COUNTRY_NAME, "DE"), x509.NameAttribute(NameOID.COMMON_NAME, name)]
        )
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + valid[0] * DAY)
            .not_valid_after(now + valid[1] * DAY)
            .sign(self._key, hashes.SHA256())
        )
        encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
        self.key = self._key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
        self.certificate = certificate.public_bytes(serialization.Encoding.PEM)

    def write(self, directory: Path) -> tuple[str, str]:
        """Write both into files and return their names, the key's first."""
        key, certificate = directory / f"{self.name}.key", directory / f"{self.name}.pem"
        key.write_bytes(self.key)
        certificate.write_bytes(self.certificate)
        return str(key), str(certificate)


class Authority:
    """A certificate authority of our own."""

    def __init__(self) -> None:
        self._key = _new_key("authority")
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "celeriac tests")])
        self.certificate = self._sign(self._name, self._key.public_key(), ca=True)

    def write_server(self, directory: Path, *hosts: str) -> tuple[str, str, str]:
        """Write our certificate, and one for a server of these names with its key; return the files' names: CA, certificate, key."""
        key = _new_key("server")
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hosts[0])])
        certificate = self._sign(subject, key.public_key(), hosts=hosts)
        files = directory / "ca.pem", directory / "server.pem", directory / "server.key"
        plain = serialization.NoEncryption()
        pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
        for file, data in zip(files, (self.certificate, certificate, pem), strict=True):
            file.write_bytes(data)
        return str(files[0]), str(files[1]), str(files[2])

    def _sign(
        self, subject: x509.Name, key: rsa.RSAPublicKey, hosts: tuple[str, ...] = (), *, ca: bool = False
    ) -> bytes:
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - DAY)
            .not_valid_after(now + DAY)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        if hosts:
            builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts]), False)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


@functools.cache
def _new_key(name: str) -> rsa.RSAPrivateKey:
    """One key for each name: to make one takes a while."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def elliptic_key() -> bytes:
    """A private key of a kind that is not supported."""
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
