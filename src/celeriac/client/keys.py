"""The keys that sign, verify and seal an app's messages, read from its settings and files when they are first needed."""

from __future__ import annotations

import glob
import os
import threading
import time
from typing import TYPE_CHECKING, Any, Final

from celeriac.exceptions import ImproperlyConfigured
from celeriac.wire.sealing import SealingKeys
from celeriac.wire.signing_hmac import HmacKeys
from celeriac.wire.x509 import X509Keys

if TYPE_CHECKING:
    from celeriac.core.settings import Settings


class KeyRing:
    """Reads keys once per snapshot of the settings, and remembers them. Thread-safe."""

    def __init__(self, settings: Settings) -> None:
        self._settings: Final = settings
        self._lock = threading.Lock()
        self._hmac: HmacKeys | None = None
        self._x509: X509Keys | None = None
        self._sealing: SealingKeys | None = None

    @property
    def inner(self) -> str:
        """Name of the serializer whose bytes are signed or sealed."""
        return self._settings.security_serializer

    def hmac(self) -> HmacKeys:
        """Return the keys of the serializer `hmac` and of signed messages. Raises `ImproperlyConfigured`."""
        if self._hmac is None:
            with self._lock:
                if self._hmac is None:
                    self._hmac = HmacKeys(
                        _shared_keys(
                            "security_hmac_key", self._settings.security_hmac_key, self._settings.security_hmac_key_file
                        )
                    )
        return self._hmac

    def sealing(self) -> SealingKeys:
        """Return the keys of the serializer `sealed`. Raises `ImproperlyConfigured`."""
        if self._sealing is None:
            with self._lock:
                if self._sealing is None:
                    self._sealing = SealingKeys(
                        _shared_keys(
                            "security_encryption_key",
                            self._settings.security_encryption_key,
                            self._settings.security_encryption_key_file,
                        )
                    )
        return self._sealing

    def x509(self) -> X509Keys:
        """Return the keys of the serializer `auth`. Blocks while files are read. Raises `ImproperlyConfigured`."""
        if self._x509 is None:
            with self._lock:
                if self._x509 is None:
                    self._x509 = _read_x509(self._settings)
        return self._x509


def _shared_keys(name: str, given: Any, file: str | None) -> list[bytes]:
    """Return the keys that a setting says, or the file that another one names. Raises `ImproperlyConfigured`."""
    if given is not None and file is not None:
        raise ImproperlyConfigured(f"{name} and {name}_file are both set: give the keys in one place")
    if file is not None:
        lines = (line.strip() for line in _read(f"{name}_file", file).splitlines())
        return [line for line in lines if line and not line.startswith(b"#")]
    if given is None:
        user = (
            "the serializer 'sealed' needs" if name == "security_encryption_key" else "to sign or verify by HMAC needs"
        )
        raise ImproperlyConfigured(f"{user} the setting {name} (or {name}_file): a secret of 16 bytes or more")
    keys = []
    for key in given if isinstance(given, list | tuple) else [given]:
        if not isinstance(key, str | bytes):
            # Never the value itself: it may be a key in some other form.
            raise ImproperlyConfigured(f"{name} takes text or bytes, or a list of those, not {type(key).__name__}")
        keys.append(key.encode() if isinstance(key, str) else key)
    return keys


def _read_x509(settings: Settings) -> X509Keys:
    key, certificate, store = settings.security_key, settings.security_certificate, settings.security_cert_store
    if not ((key and certificate) or store):
        raise ImproperlyConfigured(
            "the serializer 'auth' needs security_key and security_certificate to sign, and security_cert_store to verify"
        )
    if bool(key) != bool(certificate):
        raise ImproperlyConfigured(
            "security_key and security_certificate belong together: give both, or none to verify only"
        )
    password = settings.security_key_password
    return X509Keys(
        key=_read("security_key", key) if key else None,
        password=password.encode() if isinstance(password, str) else password,
        certificate=_read("security_certificate", certificate) if certificate else None,
        store=[(file, _read("security_cert_store", file)) for file in _files(store)] if store else [],
        digest=settings.security_digest,
        clock=time.time,
    )


def _files(store: str) -> list[str]:
    """Return the files of a directory, or those that a glob tells."""
    pattern = os.path.join(store, "*") if os.path.isdir(store) else store
    files = sorted(file for file in glob.glob(pattern) if os.path.isfile(file))
    if not files:
        raise ImproperlyConfigured(f"security_cert_store = {store!r}: there is no such file")
    return files


def _read(setting: str, file: str) -> bytes:
    try:
        with open(file, "rb") as opened:
            return opened.read()
    except OSError as error:
        raise ImproperlyConfigured(f"{setting}: {file} can't be read: {error.strerror}") from None
