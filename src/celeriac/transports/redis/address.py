"""Where a Redis server is and how to enter: a `redis://`, `rediss://` or socket URL taken apart and checked."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from msgspec import Struct

from celeriac.core.urls import mask
from celeriac.exceptions import ImproperlyConfigured

TCP_SCHEMES: Final = ("redis", "rediss")
SOCKET_SCHEMES: Final = ("unix", "redis+socket")

_CERT_REQS: Final[Mapping[str, ssl.VerifyMode]] = {
    "required": ssl.CERT_REQUIRED,
    "optional": ssl.CERT_OPTIONAL,
    "none": ssl.CERT_NONE,
}
_TLS_PARAMETERS: Final = frozenset(
    {"ssl_cert_reqs", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_check_hostname"},
)
# Celery's URLs may carry what tunes its client library; with us deadlines and keepalive are always on.
_WITHOUT_MEANING: Final = frozenset(
    {
        "client_name", "health_check_interval", "max_connections", "protocol", "retry_on_timeout",
        "socket_connect_timeout", "socket_keepalive", "socket_timeout",
    }
)  # fmt: skip


class Tls(Struct, frozen=True):
    """How to talk over TLS; certificates are verified unless the URL says otherwise."""

    verify: ssl.VerifyMode = ssl.CERT_REQUIRED
    check_hostname: bool = True
    ca_certs: str | None = None
    certfile: str | None = None
    keyfile: str | None = None

    def context(self) -> ssl.SSLContext:
        """Build the context. Raises `ImproperlyConfigured` for files that cannot be read."""
        try:
            context = ssl.create_default_context(cafile=self.ca_certs)
            if self.certfile:
                context.load_cert_chain(self.certfile, self.keyfile)
        except OSError as error:  # ssl.SSLError is one
            files = ", ".join(name for name in (self.ca_certs, self.certfile, self.keyfile) if name)
            raise ImproperlyConfigured(f"TLS files {files} can not be used: {error}") from None
        context.check_hostname = self.check_hostname and self.verify != ssl.CERT_NONE
        context.verify_mode = self.verify
        return context


class Address(Struct, frozen=True):
    """One database of one Redis server, as one user."""

    shown: str
    """The URL with the password masked."""
    host: str = "localhost"
    port: int = 6379
    path: str | None = None
    """The file of a Unix socket; then host and port mean nothing."""
    db: int = 0
    username: str | None = None
    password: str | None = None
    tls: Tls | None = None

    def __repr__(self) -> str:
        """Without the password: a traceback with local variables may stand in any log."""
        return f"Address({self.shown!r})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("shown", self.shown)]

    def same_server(self, other: Address) -> bool:
        """Tell whether both lead to the same server as the same user, to whatever database."""
        return (self.host, self.port, self.path, self.username, self.password) == (
            other.host, other.port, other.path, other.username, other.password,
        )  # fmt: skip

    def credentials(self) -> list[str]:
        """Return the words of HELLO that log in; none if the URL has no password."""
        if self.password is None:
            return []
        return ["AUTH", self.username or "default", self.password]


def parse_address(url: str) -> Address:
    """Take a URL apart. Raises `ImproperlyConfigured` that names the part which is wrong, the password masked."""
    shown = mask(url)
    if ";" in url:
        raise ImproperlyConfigured(f"{shown}: one Redis URL is wanted, not a list; for failover give a name that moves")
    try:
        parts = urlsplit(url)
    except ValueError:  # its text may quote the password
        raise ImproperlyConfigured(
            f"{shown}: this is no URL; in a password, write @, /, [ and such as %40, %2F, %5B"
        ) from None
    scheme = parts.scheme.lower()
    if scheme not in (*TCP_SCHEMES, *SOCKET_SCHEMES):
        raise ImproperlyConfigured(f"{shown}: the scheme may be {', '.join((*TCP_SCHEMES, *SOCKET_SCHEMES))}")
    parameters = _parameters(parts.query, shown)
    is_socket = scheme in SOCKET_SCHEMES
    if is_socket:
        path, database = unquote(parts.path), parameters.pop("virtual_host", parameters.pop("db", "0")).strip("/")
        if not path:
            raise ImproperlyConfigured(f"{shown}: the path of the socket is missing, as in {scheme}:///run/redis.sock")
    else:
        path, database = "", parameters.pop("db", "") or parts.path.strip("/")
    try:
        port = parts.port or 6379
    except ValueError:
        raise ImproperlyConfigured(
            f"{shown}: the port is no number from 1 to 65535; in a password, write @, / and : as %40, %2F and %3A"
        ) from None
    if not (database or "0").isdecimal():
        raise ImproperlyConfigured(f"{shown}: the database must be a number, as in redis://host:6379/0")
    return Address(
        shown=shown,
        host=unquote(parts.hostname or "localhost"),
        port=port,
        path=path if is_socket else None,
        db=int(database or "0"),
        username=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
        tls=_tls(parameters, shown) if scheme == "rediss" else None,
    )


def _parameters(query: str, shown: str) -> dict[str, str]:
    parameters = dict(parse_qsl(query, keep_blank_values=True))
    known = _TLS_PARAMETERS | _WITHOUT_MEANING | {"db", "virtual_host"}
    unknown = sorted(parameters.keys() - known)
    if unknown:
        # With an @ it is the rest of a password that has a question mark in it.
        name = "" if "@" in unknown[0] else f" {unknown[0]!r}"
        raise ImproperlyConfigured(f"{shown}: unknown parameter{name}; known are {', '.join(sorted(known))}")
    return parameters


def _tls(parameters: Mapping[str, str], shown: str) -> Tls:
    # Celery writes CERT_NONE, redis-py none.
    word = parameters.get("ssl_cert_reqs", "required").lower().removeprefix("cert_")
    if word not in _CERT_REQS:
        raise ImproperlyConfigured(f"{shown}: ssl_cert_reqs may be {', '.join(_CERT_REQS)}, not {word!r}")
    return Tls(
        verify=_CERT_REQS[word],
        check_hostname=parameters.get("ssl_check_hostname", "true").lower() not in ("false", "0", "no"),
        ca_certs=parameters.get("ssl_ca_certs"),
        certfile=parameters.get("ssl_certfile"),
        keyfile=parameters.get("ssl_keyfile"),
    )
