"""What a broker URL says."""

from __future__ import annotations

import ssl
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from msgspec import Struct

from celeriac.core.urls import mask
from celeriac.exceptions import ImproperlyConfigured

_PORTS: Final = {"amqp": 5672, "pyamqp": 5672, "amqps": 5671}
_TLS_OPTIONS: Final = frozenset({"cacertfile", "certfile", "keyfile", "verify", "server_name_indication"})


class Address(Struct, frozen=True):
    """Where RabbitMQ is and who asks."""

    host: str
    port: int
    user: str
    password: str
    vhost: str
    shown: str
    """The URL without its password."""
    tls: bool = False
    cacertfile: str | None = None
    certfile: str | None = None
    keyfile: str | None = None
    verify: bool = True
    server_name: str | None = None

    def __repr__(self) -> str:
        """Without the password: a traceback with local variables may stand in any log."""
        return f"Address({self.shown!r})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("shown", self.shown)]

    def ssl_context(self) -> ssl.SSLContext | None:
        """Return how to speak TLS, None when it is not spoken; the server is verified unless the URL says otherwise.

        Raises `ImproperlyConfigured` for files that cannot be read.
        """
        if not self.tls:
            return None
        try:
            context = ssl.create_default_context(cafile=self.cacertfile)
            if self.certfile:
                context.load_cert_chain(self.certfile, self.keyfile)
        except (OSError, ssl.SSLError) as error:
            raise ImproperlyConfigured(f"{self.shown}: a certificate or key file cannot be read: {error}") from None
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context

    @property
    def tls_name(self) -> str:
        """The name that the server's certificate must bear."""
        return self.server_name or self.host


def parse(url: str) -> Address:
    """Read `amqp://user:password@host:port/vhost`, or `amqps://` with RabbitMQ's TLS options as query.

    The vhost is what stands behind the first slash; none, or a second slash, means `/`.
    Raises `ImproperlyConfigured` that names the part which is wrong.
    """
    shown = mask(url)
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:  # its text may quote the password
        raise ImproperlyConfigured(
            f"broker URL {shown!r}: this is no URL, or its port is no number up to 65535; in a password, write @, / and : as %40,"
            " %2F and %3A"
        ) from None
    if parts.scheme not in _PORTS:
        raise ImproperlyConfigured(f"broker URL {shown!r} is none of RabbitMQ's: amqp:// or amqps://")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    tls = parts.scheme == "amqps"
    allowed = _TLS_OPTIONS if tls else frozenset[str]()
    for name in options:
        if name not in allowed:
            known = f"known are {', '.join(sorted(_TLS_OPTIONS))}" if tls else "amqp:// has none (see the settings)"
            raise ImproperlyConfigured(f"broker URL {shown!r}: unknown option {name!r}; {known}")
    verify = options.get("verify", "verify_peer")
    if verify not in ("verify_peer", "verify_none"):
        raise ImproperlyConfigured(f"broker URL {shown!r}: verify={verify!r} must be verify_peer or verify_none")
    path = parts.path[1:]
    return Address(
        host=parts.hostname or "localhost",
        port=port or _PORTS[parts.scheme],
        user=unquote(parts.username) if parts.username else "guest",
        password=unquote(parts.password) if parts.password is not None else "guest",
        vhost=unquote(path) or "/",
        shown=shown,
        tls=tls,
        cacertfile=options.get("cacertfile"),
        certfile=options.get("certfile"),
        keyfile=options.get("keyfile"),
        verify=verify == "verify_peer",
        server_name=options.get("server_name_indication"),
    )
