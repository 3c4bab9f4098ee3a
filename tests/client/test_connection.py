"""What `app.connection()` gives to programs written for Celery."""

from __future__ import annotations

from pathlib import Path

import pytest

from celeriac import Celeriac
from celeriac.client import left_out
from celeriac.exceptions import BrokerUnavailable

NAMES = (
    "connection",
    "connection_for_read",
    "connection_for_write",
    "connection_or_acquire",
    "broker_connection",
    "default_connection",
)
NOBODY = "redis://:secret@127.0.0.1:1/0"


@pytest.mark.parametrize("name", NAMES)
def test_it_stands_for_the_broker(tmp_path: Path, name: str) -> None:
    url = f"sqlite:///{tmp_path}/broker.db"
    with Celeriac("x", broker=url, set_as_current=False) as app, getattr(app, name)() as connection:
        assert connection.as_uri() == url
        assert connection.connected
        assert connection.ensure_connection(max_retries=3) is connection.connect() is connection
        connection.clone().release()


def test_it_tells_when_the_broker_is_away() -> None:
    told: list[float] = []
    with Celeriac("x", broker=NOBODY, set_as_current=False) as app:
        connection = app.connection()
        assert not connection.connected
        with pytest.raises(BrokerUnavailable):
            connection.ensure_connection(
                lambda error, pause_s: told.append(pause_s), max_retries=2, interval_start=0.01
            )
        with pytest.raises(BrokerUnavailable):
            connection.ensure_connection(timeout=0.0)
        assert told == [0.01, 0.01]
        assert "secret" not in f"{connection.as_uri()} {connection!r}"
        assert connection.as_uri(include_password=True) == NOBODY


@pytest.mark.parametrize("name", left_out.OF_CONNECTIONS)
def test_what_it_does_not_have_is_explained(name: str) -> None:
    app = Celeriac("x", broker="memory://", set_as_current=False)
    with pytest.raises(AttributeError, match="stands for the app's connections"):
        getattr(app.connection(), name)
