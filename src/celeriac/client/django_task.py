"""The base of tasks in a Django project; Celery's name for what every task here can do."""

from __future__ import annotations

from typing import ParamSpec, TypeVar

from celeriac.client.task import Task

P = ParamSpec("P")
R = TypeVar("R")


class DjangoTask(Task[P, R]):
    """A task in a Django project: `delay_on_commit` and `apply_async_on_commit` go by Django's transactions.

    Apps make their tasks of this class by themselves when DJANGO_SETTINGS_MODULE is set.
    """
