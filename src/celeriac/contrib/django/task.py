"""The base of tasks in a Django project, where Celery has it."""

from __future__ import annotations

from celeriac.client.django_task import DjangoTask

__all__ = ["DjangoTask"]
