"""URLs put together from single settings, as Celery has them: host, port, user, password, TLS."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import SplitResult, quote, urlencode, urlsplit, urlunsplit

from celeriac.core.urls import mask, scheme
from celeriac.exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    from celeriac.core.settings import Settings

_AMQP: Final = ("amqp", "pyamqp", "amqps")
_REDIS: Final = ("redis", "rediss")
_REDIS_GROUPS: Final = ("sentinel", "rediscluster")
"""Their URLs are lists; login, database and TLS of the first member hold for the server that is found."""
_REQUIREMENTS: Final = ("none", "optional", "required")
"""In the order of the numbers that the module `ssl` gives them."""
_TLS_OPTIONS: Final = ("ca_certs", "certfile", "keyfile", "cert_reqs", "check_hostname", "server_hostname")


def broker_url_of(settings: Settings) -> str | None:
    """Return the broker's URL as the settings say it, None when they say none.  What a URL lacks, its parts give.

    Raises `ImproperlyConfigured` for options of TLS that do not exist.
    """
    url = settings.broker_url or settings.broker_read_url or settings.broker_write_url
    if url is None and settings.broker_host and "://" in settings.broker_host:
        url = settings.broker_host
    parts = (settings.broker_user, settings.broker_password, settings.broker_port, settings.broker_vhost)
    if url is None and not (settings.broker_host or settings.broker_transport or any(parts)):
        return None
    kind = scheme(url or "") or settings.broker_transport or "amqp"
    if kind in (*_AMQP, *_REDIS):
        url = url or f"{kind}://{settings.broker_host or 'localhost'}"
        url = ";".join(_completed(one, *parts) for one in nodes(url))
    return url or f"{kind}://"


def with_tls(url: str, options: bool | Mapping[str, Any] | None, setting: str) -> str:
    """Return the URL of the same server over TLS, where `options` (of the named setting) ask for it and the URL may."""
    kind = scheme(url)
    if not options or kind not in (*_AMQP, *_REDIS, *_REDIS_GROUPS):
        return url
    given = {} if options is True else {name.removeprefix("ssl_"): value for name, value in options.items()}
    for name in given:
        if name not in _TLS_OPTIONS:
            raise ImproperlyConfigured(f"{setting}: unknown option {name!r}; known are {', '.join(_TLS_OPTIONS)}")
    if kind in _REDIS_GROUPS:
        first, *others = url.split(";")
        return ";".join([_with_parameters(first, {"ssl": "true", **_redis_parameters(given)}), *others])
    if len(several := nodes(url)) > 1:
        return ";".join(with_tls(one, options, setting) for one in several)
    with_parameters = _with_parameters(url, _redis_parameters(given) if kind in _REDIS else _amqp_parameters(given))
    return urlunsplit(_split(with_parameters)._replace(scheme="rediss" if kind in _REDIS else "amqps"))


def _with_parameters(url: str, names: Mapping[str, str]) -> str:
    """Return the URL with these parameters; what it says itself comes first."""
    parts = _split(url)
    added = urlencode({name: value for name, value in names.items() if f"{name}=" not in parts.query})
    return urlunsplit(parts._replace(query="&".join(part for part in (parts.query, added) if part)))


def nodes(url: str) -> list[str]:
    """Return the single URLs of RabbitMQ's nodes, of which one setting may name several; any other URL is one."""
    if scheme(url) not in _AMQP:
        return [url]
    return [one.strip() for one in url.split(";") if one.strip()]


def backend_url_of(settings: Settings) -> str | None:
    """Return the URL of the result backend as the settings say it: names as `redis` and `rpc` are made URLs."""
    url = settings.result_backend
    if url is None:
        return None
    match url.rstrip("/").removesuffix(":"):
        case "redis":
            parts = (settings.redis_username, settings.redis_password, settings.redis_port, settings.redis_db)
            return _completed(f"redis://{settings.redis_host or 'localhost'}", *parts)
        case "rpc" | "amqp":
            return "rpc://"
        case "disabled":
            return "disabled://"
        case "database" | "db":
            if settings.database_url is None:
                raise ImproperlyConfigured(f"result_backend {mask(url)!r} needs the setting database_url")
            return f"db+{settings.database_url.removeprefix('db+')}"
    return url


def _completed(url: str, user: str | None, password: str | None, port: int | None, path: int | str | None) -> str:
    """Return the URL with those parts that it does not have yet."""
    parts = _split(url)
    login, _, address = parts.netloc.rpartition("@")
    if not login and (user or password):
        login = quote(user or "", safe="")
        if password:
            login += f":{quote(password, safe='')}"
    host, colon, _ = address.rpartition(":")
    if not (colon and host and "]" not in address[len(host) + 1 :]) and port is not None:
        address = f"{address}:{port}"
    place = parts.path
    if place in ("", "/") and path not in (None, "", "/"):
        place = f"/{quote(str(path).removeprefix('/'), safe='')}"
    return urlunsplit(parts._replace(netloc=f"{login}@{address}" if login else address, path=place))


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:  # its text may quote the password
        raise ImproperlyConfigured(
            f"{mask(url)}: this is no URL; in a password, write @, /, [ and such as %40, %2F, %5B"
        ) from None


def _requirement(value: Any) -> str:
    if isinstance(value, str):
        word = value.lower().removeprefix("cert_")
    else:
        word = _REQUIREMENTS[int(value)] if value is not None and 0 <= int(value) < len(_REQUIREMENTS) else ""
    if word not in _REQUIREMENTS:
        raise ImproperlyConfigured(f"TLS option cert_reqs may be {', '.join(_REQUIREMENTS)}, not {value!r}")
    return word


def _redis_parameters(given: Mapping[str, Any]) -> dict[str, str]:
    found = {f"ssl_{name}": str(given[name]) for name in ("ca_certs", "certfile", "keyfile") if given.get(name)}
    if "cert_reqs" in given:
        found["ssl_cert_reqs"] = _requirement(given["cert_reqs"])
    if "check_hostname" in given:
        found["ssl_check_hostname"] = "true" if given["check_hostname"] else "false"
    return found


def _amqp_parameters(given: Mapping[str, Any]) -> dict[str, str]:
    own = {"ca_certs": "cacertfile", "certfile": "certfile", "keyfile": "keyfile"}
    own["server_hostname"] = "server_name_indication"
    found = {name: str(given[option]) for option, name in own.items() if given.get(option)}
    if "cert_reqs" in given:
        found["verify"] = "verify_none" if _requirement(given["cert_reqs"]) == "none" else "verify_peer"
    return found
