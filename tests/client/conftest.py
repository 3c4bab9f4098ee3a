from __future__ import annotations

from collections.abc import Iterator

import pytest

from celeriac import Celeriac
from celeriac.client import current
from tests.client.recording import RecordingBackend, RecordingBroker


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BROKER_URL", "RESULT_BACKEND"):
        monkeypatch.delenv(f"CELERIAC_{name}", raising=False)
        monkeypatch.delenv(f"CELERY_{name}", raising=False)


@pytest.fixture(autouse=True)
def _no_current_app() -> Iterator[None]:
    """Give every test a process without a current app and without shared tasks."""
    apps, state = current._apps, current._state
    before = apps.default, state.app, list(apps.definitions), list(apps.known)
    apps.default = state.app = None
    apps.definitions.clear()
    apps.known.clear()
    yield
    apps.default, state.app = before[:2]
    apps.definitions[:] = before[2]
    apps.known.update(before[3])


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
