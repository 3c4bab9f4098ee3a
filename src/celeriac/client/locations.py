"""Where broker and results are: settings, the environment, or the embedded file that needs no server."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from celeriac.core.settings import Settings
from celeriac.core.url_parts import backend_url_of, broker_url_of, with_tls
from celeriac.core.urls import scheme

logger = logging.getLogger("celeriac")

BROKER_VARIABLES: Final = ("CELERIAC_BROKER_URL", "CELERY_BROKER_URL")
BACKEND_VARIABLES: Final = ("CELERIAC_RESULT_BACKEND", "CELERY_RESULT_BACKEND")
EMBEDDED_FILE: Final = Path(".celeriac", "broker.db")


class Locations(NamedTuple):
    """The URLs in force."""

    broker: str
    backend: str


def locate(
    settings: Settings,
    environment: Mapping[str, str],
    directory: Path,
    own_broker: str | None = None,
    default_broker: str | None = None,
) -> Locations:
    """Return the URLs in force: the environment's before the settings', `default_broker` or the embedded file in `directory` at last.

    As in Celery the environment wins, so that one program runs unchanged in another place.  Where no result backend is
    named, the embedded broker keeps the results in its own file, the memory broker in memory; any other keeps none.
    `own_broker` is the shown URL of a broker that the program made itself.
    """
    broker = own_broker or _first(environment, BROKER_VARIABLES) or broker_url_of(settings) or default_broker
    backend = _first(environment, BACKEND_VARIABLES) or backend_url_of(settings)
    if broker is None:
        file = directory / EMBEDDED_FILE
        broker = f"sqlite:///{file}"
        logger.warning(
            "no broker_url is set: using the embedded broker, the file %s; clients and workers that are to meet must be"
            " started in the same directory, or be given broker=...",
            file,
        )
    if backend is None:
        backend = broker if scheme(broker) in ("sqlite", "memory") else "disabled://"
    if own_broker is None:
        broker = with_tls(broker, settings.broker_use_ssl, "broker_use_ssl")
    return Locations(broker, with_tls(backend, settings.redis_backend_use_ssl, "redis_backend_use_ssl"))


def _first(environment: Mapping[str, str], variables: tuple[str, ...]) -> str | None:
    for variable in variables:
        if environment.get(variable):
            return environment[variable]
    return None
