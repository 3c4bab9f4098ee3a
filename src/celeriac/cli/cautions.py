"""What is risky about the servers that a worker talks to, as far as their URLs tell."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from typing import Final
from urllib.parse import parse_qs, urlsplit

from celeriac.client.app import Celeriac
from celeriac.core.urls import mask, scheme

_PLAIN: Final = {"redis": "rediss", "amqp": "amqps", "pyamqp": "amqps", "sentinel": "", "rediscluster": ""}
"""Schemes without TLS -> the same with it; empty: a parameter says it."""
_WITH_TLS: Final = frozenset({"rediss", "amqps"})
_AMQP: Final = frozenset({"amqp", "pyamqp", "amqps"})
_OFF: Final = frozenset({"none", "cert_none", "verify_none", "false", "0", "no"})


def app_urls(app: Celeriac) -> dict[str, str]:
    """Return the URLs of an app's servers by what they are to it, each once."""
    broker, backend = app.locations
    urls = {"broker": broker, "result backend": backend, "coordination store": app.settings.coordination_url or broker}
    return {name: url for name, url in urls.items() if name == "broker" or url != broker}


def cautions(name: str, urls: str) -> Iterator[str]:
    """Yield a line for each risk of the servers behind a URL, or a list of them with semicolons; `name` is what they are to us.

    Servers of this machine, files, and databases behind SQLAlchemy have none.
    """
    if scheme(urls) not in (*_PLAIN, *_WITH_TLS):
        return
    said: set[str] = set()
    for url in urls.split(";"):
        for line in _of_one(name, url.strip()):
            if line not in said:
                said.add(line)
                yield line


def _of_one(name: str, url: str) -> Iterator[str]:
    try:
        parts = urlsplit(url)
        host, user, password = parts.hostname or "", parts.username, parts.password
    except ValueError:  # whoever connects says what is wrong with it
        return
    if _is_here(host):
        return
    parameters = {key: values[-1].lower() for key, values in parse_qs(parts.query).items()}
    kind, where = parts.scheme.lower(), f"the {name} {mask(url)}"
    if kind not in _WITH_TLS and parameters.get("ssl", "false") in _OFF:
        cure = f"use {_PLAIN[kind]}://" if _PLAIN.get(kind) else "add ?ssl=true"
        yield f"{where} is another machine and is talked to without TLS: whoever listens reads all of it; {cure}"
    elif parameters.get("ssl_cert_reqs") in _OFF or parameters.get("verify") in _OFF:
        yield f"{where}: its TLS certificate is not verified, anybody can pretend to be it; give the CA's file instead"
    elif parameters.get("ssl_check_hostname") in _OFF:
        yield f"{where}: the name in its TLS certificate is not checked, any certificate of the CA will do"
    if kind in _AMQP and (not user or user == "guest"):
        yield f"{where} is another machine and is entered as 'guest', whom everybody knows; give it a user and a password"
    elif not password:
        yield f"{where} is another machine and is entered without a password: whoever reaches it runs your tasks; set one"


def _is_here(host: str) -> bool:
    if host in ("", "localhost") or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False  # a name: that it may mean this machine, only the resolver knows
