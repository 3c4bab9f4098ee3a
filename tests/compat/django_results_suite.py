"""The public suite of result backends, for `django-db`: run by test_django_results.py in a process that has Django set up."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import django
import pytest
from django.apps import apps
from django.conf import settings
from django.core.management import call_command

from celeriac.core.settings import make_settings
from celeriac.testing.backend_base import make_record, new_id
from celeriac.testing.backend_suite import BackendSuite, MakeBackend

settings.configure(
    DATABASES={"default": json.loads(os.environ["RESULTS_DATABASE"])},
    INSTALLED_APPS=["django_celery_results"],
    USE_TZ=True,
)
django.setup()
call_command("migrate", verbosity=0)


class TestDjangoBackend(BackendSuite):
    @pytest.fixture
    def make_backend(self) -> Iterator[MakeBackend]:
        from celeriac.contrib.django.results_backend import DjangoBackend

        def make(**given: Any) -> DjangoBackend:
            return DjangoBackend("django-db", make_settings(given), lambda: 0.0)

        yield make
        for model in apps.get_models():
            model._base_manager.all().delete()

    def test_results_expire(self, make_backend: MakeBackend) -> None:  # type: ignore[override]  # another fixture
        """By the table's own time, as with Celery: there is no column for another."""
        old, young = make_record(new_id()), make_record(new_id())
        backend = make_backend(result_expires=3600)
        self.store(backend, old)
        apps.get_model("django_celery_results", "TaskResult").objects.update(
            date_done=datetime.now(UTC) - timedelta(hours=2)
        )
        self.store(make_backend(result_expires=3600), young)
        with self.reading(backend) as reader:
            assert set(reader.fetch([old.id, young.id])) == {young.id}

    def test_saved_groups_expire(self, make_backend: MakeBackend) -> None:  # type: ignore[override]
        backend = make_backend(result_expires=3600)
        with self.reading(backend) as reader:
            reader.save_group(group := new_id(), b"members", None)
            apps.get_model("django_celery_results", "GroupResult").objects.update(
                date_done=datetime.now(UTC) - timedelta(hours=2)
            )
            self.store(make_backend(result_expires=3600), make_record(new_id()))
            assert reader.fetch_group(group) is None
