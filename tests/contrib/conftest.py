"""Fixtures for the integrations: a Django project that is set up once, with databases of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from celeriac import Celeriac
from celeriac.client.current import find_current_app, set_current_app, set_default_app
from tests.client.recording import RecordingBackend, RecordingBroker
from tests.contrib.django_site import PROJECT, SETTINGS_MODULE, Databases, Site, databases
from tests.e2e.harness import Guard


@pytest.fixture(scope="session")
def django_databases() -> Iterator[Databases]:
    """The project's databases, migrated; after this Django is set up in this process too."""
    with databases() as known, pytest.MonkeyPatch.context() as patch:
        patch.setenv("SHOP_DATABASES", json.dumps(known))
        # Named only while Django reads it: every app that is made under this variable is Django's.
        patch.setenv("DJANGO_SETTINGS_MODULE", SETTINGS_MODULE)
        patch.setenv("SHOP_LOGGING", "0")
        patch.syspath_prepend(str(PROJECT))
        import django

        before = find_current_app()
        django.setup()
        # The project's own app came along with its settings: it must not be the current one of other tests.
        set_current_app(before)
        set_default_app(before)
        from django.core.management import call_command
        from django.db import connections

        for alias in known:
            call_command("migrate", database=alias, verbosity=0)
        patch.delenv("DJANGO_SETTINGS_MODULE")
        yield known
        connections.close_all()


@pytest.fixture
def empty_databases(django_databases: Databases) -> Iterator[Databases]:
    """The same, with nothing in them."""
    from django.apps import apps
    from django.db import connections

    for alias in django_databases:
        apps.get_model("django_orders", "Entry").objects.using(alias).all().delete()
        apps.get_model("celeriac", "OutboxMessage").objects.using(alias).all().delete()
    yield django_databases
    connections.close_all()


@pytest.fixture
def broker() -> RecordingBroker:
    return RecordingBroker()


@pytest.fixture
def django_app(
    empty_databases: Databases, broker: RecordingBroker, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Celeriac]:
    """An app as a Django project has it, whose messages a test can look at."""
    for name in ("CELERIAC_BROKER_URL", "CELERIAC_RESULT_BACKEND"):
        monkeypatch.delenv(name, raising=False)
    with monkeypatch.context() as patch:
        patch.setenv("DJANGO_SETTINGS_MODULE", SETTINGS_MODULE)
        app = Celeriac("shop", broker=broker, backend=RecordingBackend(), set_as_current=False)
    with app:
        yield app


@pytest.fixture(scope="session")
def site_guard() -> Iterator[Guard]:
    """Kills the workers that a killed test run would leave behind."""
    guard = Guard()
    yield guard
    guard.close()


@pytest.fixture(params=["redis", "rabbitmq"])
def site(
    request: pytest.FixtureRequest, empty_databases: Databases, tmp_path: Path, site_guard: Guard
) -> Iterator[Site]:
    """The project on each broker."""
    yield from _site(request.param, request, empty_databases, tmp_path, site_guard)


@pytest.fixture
def redis_site(
    request: pytest.FixtureRequest, empty_databases: Databases, tmp_path: Path, site_guard: Guard
) -> Iterator[Site]:
    """The project on Redis, for what does not depend on the broker."""
    yield from _site("redis", request, empty_databases, tmp_path, site_guard)


def _site(
    broker: str, request: pytest.FixtureRequest, known: Databases, directory: Path, guard: Guard
) -> Iterator[Site]:
    url = request.getfixturevalue("redis_url" if broker == "redis" else "rabbit_url")
    site = Site(known, url, directory, guard)
    yield site
    site.close()
