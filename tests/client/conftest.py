from __future__ import annotations

from collections.abc import Iterator

import pytest

from celeriac import Celeriac
from tests.client.recording import RecordingBackend, RecordingBroker


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BROKER_URL", "RESULT_BACKEND"):
        monkeypatch.delenv(f"CELERIAC_{name}", raising=False)
        monkeypatch.delenv(f"CELERY_{name}", raising=False)


@pytest.fixture
def broker() -> RecordingBroker:
    return RecordingBroker()


@pytest.fixture
def backend() -> RecordingBackend:
    return RecordingBackend()


@pytest.fixture
def app(broker: RecordingBroker, backend: RecordingBackend) -> Iterator[Celeriac]:
    with Celeriac("shop", broker=broker, backend=backend) as app:
        yield app
