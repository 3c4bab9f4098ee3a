"""What is `rpc://`'s own: its broker, its memory."""

from __future__ import annotations

import pytest

from celeriac.backends.rpc import Arrived, RpcBackend
from celeriac.core.effects import Record
from celeriac.core.settings import make_settings
from celeriac.exceptions import ImproperlyConfigured


@pytest.mark.parametrize(
    ("url", "cure"),
    [
        ("redis://:secret@host/1", r"set result_backend to a redis:// URL, for example redis://:\*\*@host/1"),
        ("rediss://host/1", "rediss://"),
        ("sqlite:///x.db", "leave result_backend out"),
        (None, "leave result_backend out"),
    ],
)
def test_it_needs_rabbitmq(url: str | None, cure: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=cure):
        RpcBackend(make_settings({"broker_url": url}))


def test_its_memory_has_a_size() -> None:
    settings = {"broker_url": "amqp://host", "result_backend_transport_options": {"kept_results": 0}}
    with pytest.raises(ImproperlyConfigured, match="kept_results"):
        RpcBackend(make_settings(settings))
    arrived = Arrived(kept=3)
    for number in range(5):
        arrived.put(str(number), b"{}")
    assert set(arrived.get([str(number) for number in range(5)])) == {"2", "3", "4"}


def test_a_success_stays() -> None:
    backend = RpcBackend(make_settings({"broker_url": "amqp://host"}))
    reader = backend.reader()
    started = b'{"status": "STARTED", "result": {"status": "SUCCESS"}}'
    success, late = b'{"result": 1, "status": "SUCCESS"}', b'{"status": "FAILURE"}'
    for document in (started, success, late):
        reader.store([Record("1", "", document, None)])
    assert backend.reader().fetch(["1", "2"]) == {"1": success}
    reader.forget(["1"])
    assert reader.fetch(["1"]) == {}
