"""The project's app, written as Celery's guide for Django says."""

from __future__ import annotations

import os

from celeriac import Celeriac

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "django_shop.settings")

app = Celeriac("django_shop")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
