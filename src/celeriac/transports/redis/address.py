"""Where a Redis server is and how to enter: a URL of one server, of Sentinels or of a cluster taken apart and checked."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import parse_qsl, unquote, urlsplit

from msgspec import Struct
from msgspec.structs import replace

from celeriac.core.urls import mask
from celeriac.core.urls import scheme as scheme_of
from celeriac.exceptions import ImproperlyConfigured
from celeriac.transports.redis.cluster import CLUSTER_SCHEME, key_options, key_slot

if TYPE_CHECKING:
    import ssl

TCP_SCHEMES: Final = ("redis", "rediss")
SOCKET_SCHEMES: Final = ("unix", "redis+socket")
SENTINEL_SCHEME: Final = "sentinel"
SCHEMES: Final = (*TCP_SCHEMES, *SOCKET_SCHEMES, SENTINEL_SCHEME, CLUSTER_SCHEME)
_DEFAULT_PORT: Final = 6379
_SENTINEL_PORT: Final = 26379

CA_OPTION: Final = "ssl_ca_certs"
"""The parameter that names the file of trusted certificates."""
Verify = Literal["required", "optional", "none"]
"""What is asked of a server's certificate; the names end those of `ssl.VerifyMode`."""
_CERT_REQS: Final[Mapping[str, Verify]] = {"required": "required", "optional": "optional", "none": "none"}
_TLS_PARAMETERS: Final = frozenset(
    {"ssl", "ssl_cert_reqs", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_check_hostname"},
)
_NO: Final = ("false", "0", "no")
# Celery's URLs may carry what tunes its client library; with us deadlines and keepalive are always on.
_WITHOUT_MEANING: Final = frozenset(
    {
        "client_name", "health_check_interval", "max_connections", "protocol", "retry_on_timeout",
        "socket_connect_timeout", "socket_keepalive", "socket_timeout",
    }
)  # fmt: skip


class Tls(Struct, frozen=True):
    """How to talk over TLS; certificates are verified unless the URL says otherwise."""

    verify: Verify = "required"
    check_hostname: bool = True
    ca_certs: str | None = None
    certfile: str | None = None
    keyfile: str | None = None

    def context(self) -> ssl.SSLContext:
        """Build the context. Raises `ImproperlyConfigured` for files that cannot be read."""
        import ssl  # OpenSSL: 3 ms and 4 MB that programs without it do not need

        try:
            context = ssl.create_default_context(cafile=self.ca_certs)
            if self.certfile:
                context.load_cert_chain(self.certfile, self.keyfile)
        except OSError as error:  # ssl.SSLError is one
            files = ", ".join(name for name in (self.ca_certs, self.certfile, self.keyfile) if name)
            raise ImproperlyConfigured(f"TLS files {files} can not be used: {error}") from None
        context.check_hostname = self.check_hostname and self.verify != "none"
        context.verify_mode = ssl.VerifyMode[f"CERT_{self.verify.upper()}"]
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
    guides: tuple[Address, ...] = ()
    """Who is asked where the server is, Sentinels or nodes of a cluster; none: it is at host and port."""
    master_name: str = ""
    """Under which the Sentinels know it."""
    min_other_sentinels: int = 0
    """A Sentinel that sees fewer others than that is not believed."""
    slot: int | None = None
    """Of a cluster: the slot of all our keys."""

    def __repr__(self) -> str:
        """Without the password: a traceback with local variables may stand in any log."""
        return f"Address({self.shown!r})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("shown", self.shown)]

    def same_server(self, other: Address) -> bool:
        """Tell whether both lead to the same server as the same user, to whatever database."""
        return self._identity() == other._identity()

    def at(self, host: str, port: int) -> Address:
        """Return the place where a guide says that the server is."""
        place = f"{host}:{port}"
        return replace(self, shown=place, host=host, port=port, guides=())

    def _identity(self) -> tuple[object, ...]:
        guides = frozenset((guide.host, guide.port) for guide in self.guides)
        way = (guides, self.master_name, self.slot)
        return (*((self.host, self.port) if not guides else ()), self.path, self.username, self.password, *way)

    def credentials(self) -> list[str]:
        """Return the words of HELLO that log in; none if the URL has no password."""
        if self.password is None:
            return []
        return ["AUTH", self.username or "default", self.password]


def parse_address(url: str, options: Mapping[str, Any] = MappingProxyType({})) -> Address:
    """Take a URL apart; `options` are the transport options, which name the master that Sentinels watch.

    Raises `ImproperlyConfigured` that names the part which is wrong, the password masked.
    """
    kind = scheme_of(url)
    if kind == SENTINEL_SCHEME:
        return _by_sentinels(url, options)
    if kind == CLUSTER_SCHEME:
        return _in_cluster(url, options)
    if ";" in url:
        raise ImproperlyConfigured(
            f"{mask(url)}: one Redis URL is wanted, not a list; for failover name Sentinels, as in"
            " sentinel://host:26379;sentinel://host2:26379"
        )
    return _one(url, _DEFAULT_PORT)


def _one(url: str, default_port: int) -> Address:
    shown = mask(url)
    try:
        parts = urlsplit(url)
    except ValueError:  # its text may quote the password
        raise ImproperlyConfigured(
            f"{shown}: this is no URL; in a password, write @, /, [ and such as %40, %2F, %5B"
        ) from None
    scheme = parts.scheme.lower()
    if scheme not in SCHEMES:
        raise ImproperlyConfigured(f"{shown}: the scheme may be {', '.join(SCHEMES)}")
    parameters = _parameters(parts.query, shown)
    is_socket = scheme in SOCKET_SCHEMES
    if is_socket:
        path, database = unquote(parts.path), parameters.pop("virtual_host", parameters.pop("db", "0")).strip("/")
        if not path:
            raise ImproperlyConfigured(f"{shown}: the path of the socket is missing, as in {scheme}:///run/redis.sock")
    else:
        path, database = "", parameters.pop("db", "") or parts.path.strip("/")
    try:
        port = parts.port or default_port
    except ValueError:
        raise ImproperlyConfigured(
            f"{shown}: the port is no number from 1 to 65535; in a password, write @, / and : as %40, %2F and %3A"
        ) from None
    if not (database or "0").isdecimal():
        raise ImproperlyConfigured(f"{shown}: the database must be a number, as in redis://host:6379/0")
    has_tls = scheme == "rediss" or (scheme in (SENTINEL_SCHEME, CLUSTER_SCHEME) and _wants_tls(parameters))
    return Address(
        shown=shown,
        host=unquote(parts.hostname or "localhost"),
        port=port,
        path=path if is_socket else None,
        db=int(database or "0"),
        username=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
        tls=_tls(parameters, shown) if has_tls else None,
    )


def _by_sentinels(url: str, options: Mapping[str, Any]) -> Address:
    """Return the address of the master; as in Celery, login, database and TLS of the first URL are those of the master."""
    first, *_ = sentinels = _members(url, SENTINEL_SCHEME, _SENTINEL_PORT)
    master_name = options.get("master_name")
    if not isinstance(master_name, str) or not master_name:
        raise ImproperlyConfigured(
            f"{mask(url)}: the name of the master is missing; give it as in"
            " broker_transport_options={'master_name': 'mymaster'}, for results in result_backend_transport_options"
        )
    least = options.get("min_other_sentinels", 0)
    if not isinstance(least, int) or isinstance(least, bool) or least < 0:
        raise ImproperlyConfigured(f"transport option 'min_other_sentinels' = {least!r}: a number from 0 is wanted")
    entry = _sentinel_login(options.get("sentinel_kwargs"))
    guides = tuple(
        replace(entry, shown=f"{SENTINEL_SCHEME}://{one.host}:{one.port}", host=one.host, port=one.port)
        for one in sentinels
    )
    return replace(first, shown=mask(url), guides=guides, master_name=master_name, min_other_sentinels=least)


def _sentinel_login(given: object) -> Address:
    """Return an address with what enters the Sentinels themselves: `sentinel_kwargs`, as Celery's client library takes it."""
    name = "transport option 'sentinel_kwargs'"
    if given is None:
        return Address(SENTINEL_SCHEME)
    if not isinstance(given, Mapping):
        raise ImproperlyConfigured(f"{name} must be a dict, as in {{'password': ...}}")
    known = {"username", "password", *_TLS_PARAMETERS, *_WITHOUT_MEANING}
    if unknown := sorted(str(key) for key in given.keys() - known):
        raise ImproperlyConfigured(f"{name} has no key {unknown[0]!r}; known are {', '.join(sorted(known))}")
    user, password = (None if given.get(key) is None else str(given[key]) for key in ("username", "password"))
    parameters = {key: str(given[key]) for key in _TLS_PARAMETERS if given.get(key) is not None}
    if isinstance(given.get("ssl_cert_reqs"), enum.Enum):  # ssl.VerifyMode
        parameters["ssl_cert_reqs"] = given["ssl_cert_reqs"].name
    tls = _tls(parameters, name) if _wants_tls(parameters) else None
    return Address(SENTINEL_SCHEME, username=user, password=password, tls=tls)


def _in_cluster(url: str, options: Mapping[str, Any]) -> Address:
    first, *_ = nodes = _members(url, CLUSTER_SCHEME, _DEFAULT_PORT)
    if any(node.db for node in nodes):
        raise ImproperlyConfigured(
            f"{mask(url)}: a cluster has database 0 only; keep programs apart by global_keyprefix, as in '{{shop}}:'"
        )
    one = replace(first, shown=mask(url), slot=key_slot(str(key_options(url, options)["global_keyprefix"])))
    return replace(one, guides=tuple(replace(one, host=node.host, port=node.port) for node in nodes))


def _members(url: str, scheme: str, default_port: int) -> Sequence[Address]:
    members = [part.strip() for part in url.split(";") if part.strip()]
    for member in members:
        if scheme_of(member) != scheme:
            raise ImproperlyConfigured(
                f"{mask(url)}: each member of the list needs {scheme}:// before it, as in {scheme}://a:1;{scheme}://b:1"
            )
    return [_one(member, default_port) for member in members]


def _wants_tls(parameters: Mapping[str, str]) -> bool:
    said = parameters.get("ssl", "").lower()
    return said not in _NO if said else any(name.startswith("ssl_") for name in parameters)


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
        check_hostname=parameters.get("ssl_check_hostname", "true").lower() not in _NO,
        ca_certs=parameters.get("ssl_ca_certs"),
        certfile=parameters.get("ssl_certfile"),
        keyfile=parameters.get("ssl_keyfile"),
    )
