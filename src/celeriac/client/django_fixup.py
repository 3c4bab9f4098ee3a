"""What Django changes in an app: its apps are searched for tasks, and its connections are looked after around each task."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any, Final

from celeriac.client import signals
from celeriac.client.django_task import DjangoTask
from celeriac.client.django_transactions import DjangoTransactions
from celeriac.exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac
    from celeriac.client.task import Task
    from celeriac.client.transactions import Outbox, Transactions

OLDEST: Final = (4, 2)
APP_LABEL: Final = "celeriac"
"""Of `celeriac.contrib.django`, which holds the outbox."""
_OWN_SETTINGS: Final = ("CELERY", "CELERIAC", "BROKER_")


class DjangoFixup:
    """Duties: 1. `django.setup()` before tasks are imported; 2. the installed apps for `autodiscover_tasks()`; 3. connections
    checked, and closed when they are too old, before and after each task; 4. the outbox, where its app is installed; 5. settings that
    tests override.

    Django itself is imported no earlier than one of these is asked for.
    """

    task_class: type[Task[Any, Any]] = DjangoTask

    def __init__(self, app: Celeriac) -> None:
        self._app = app
        self._outbox: Outbox | None = None
        self.transactions: Transactions = DjangoTransactions()

    def outbox(self) -> Outbox | None:
        """Return the outbox when `celeriac.contrib.django` is among INSTALLED_APPS, else None."""
        if self._outbox is None:
            from django.apps import apps

            if apps.ready and apps.is_installed("celeriac.contrib.django"):
                self._outbox = apps.get_app_config(APP_LABEL).make_outbox(self._app)
        return self._outbox

    def set_up(self) -> None:
        """Call `django.setup()` unless that was done, and watch over this process's tasks. Idempotent.

        Raises `ImproperlyConfigured` for a Django that is too old, and what Django raises.
        """
        import django
        from django.apps import apps

        if django.VERSION < OLDEST:
            raise ImproperlyConfigured(
                f"Django {django.get_version()} is too old: {OLDEST[0]}.{OLDEST[1]} or newer is needed"
            )
        if not apps.ready:
            django.setup()
        _enable_own_loggers()
        signals.task_prerun.connect(_before_task, weak=False, dispatch_uid="celeriac.django.before")
        signals.task_postrun.connect(_after_task, weak=False, dispatch_uid="celeriac.django.after")

    def watch_settings(self) -> None:
        """Heed `override_settings` in tests. Idempotent."""
        from django.core.signals import setting_changed

        setting_changed.connect(self._setting_changed, dispatch_uid=("celeriac", id(self)))

    def _setting_changed(self, *, setting: str, **_named: Any) -> None:
        if setting.startswith(_OWN_SETTINGS):
            self._app.conf.reread()

    def packages(self) -> list[str]:
        """Name the installed apps, as their `AppConfig.name` says."""
        from django.apps import apps

        return [config.name for config in apps.get_app_configs()]

    def close_connections(self) -> None:
        """Close this thread's connections to databases and caches, connection pools included. Idempotent."""
        if "django.db" not in sys.modules:
            return
        from django.core.cache import caches
        from django.db import connections

        for connection in connections.all(initialized_only=True):
            connection.close()
            # A pool has threads of its own, which no child would inherit.
            if getattr(connection, "pool", None) is not None:
                connection.close_pool()
        caches.close_all()


def _enable_own_loggers() -> None:
    """Undo what a LOGGING setting without `disable_existing_loggers` does to the loggers that were there before it."""
    for name, logger in logging.root.manager.loggerDict.items():
        if name.partition(".")[0] == "celeriac" and isinstance(logger, logging.Logger):
            logger.disabled = False


# -- around each task -------------------------------------------------------------------------------------------------


def _before_task(task: Task[Any, Any], **_named: Any) -> None:
    """As Django before a request: forget the query log of DEBUG, and drop connections that are broken or too old."""
    if not task.request.is_eager:  # the caller's own connections are none of our business
        from django.db import close_old_connections, reset_queries

        _where_queries_run(task, reset_queries)
        _where_queries_run(task, close_old_connections)


def _after_task(task: Task[Any, Any], **_named: Any) -> None:
    """As Django after a request: close connections unless CONN_MAX_AGE keeps them."""
    if not task.request.is_eager:
        from django.core.cache import close_caches
        from django.db import close_old_connections

        _where_queries_run(task, close_old_connections)
        _where_queries_run(task, close_caches)


def _where_queries_run(task: Task[Any, Any], function: Any) -> None:
    """Call a function in the thread that holds the connections.

    For coroutine tasks that is asgiref's one thread, in which Django's asynchronous methods run one after the other: handed
    over before the task's next query, the function is done before it too.
    """
    if task.executor != "async":
        function()
        return
    from asgiref.sync import SyncToAsync

    executor = getattr(SyncToAsync, "single_thread_executor", None)
    if executor is not None:
        executor.submit(function)
