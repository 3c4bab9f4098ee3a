"""Django's transactions, for atomic tasks and for calls that wait for a commit."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import TYPE_CHECKING, Any

from celeriac.exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    from celeriac.client.task import Task


class DjangoTransactions:
    """`transaction.atomic` and `transaction.on_commit` of the Django project that the process is in."""

    def check(self, task: Task[Any, Any]) -> None:
        """Raise `ImproperlyConfigured` for an atomic coroutine, which Django can't do, or a database that does not exist."""
        if task.executor == "async":
            raise ImproperlyConfigured(
                f"task {task.name!r}: atomic={task.atomic!r} does not go with `async def`, because Django's transactions"
                " can't span an `await`; write the task as a plain `def`, or put the queries into one function under"
                " transaction.atomic() and call it by sync_to_async()"
            )

    def atomic(self, task: Task[Any, Any]) -> AbstractContextManager[object]:
        """Return the transaction around one run.

        In a worker it must be the outermost one, so that its end is the real commit; in eager mode it is a savepoint where the
        caller is in a transaction already.  Raises `ImproperlyConfigured` for a database that does not exist.
        """
        from django.db import DEFAULT_DB_ALIAS, connections, transaction

        using = task.atomic if isinstance(task.atomic, str) else DEFAULT_DB_ALIAS
        if using not in connections.settings:
            known = ", ".join(sorted(connections.settings))
            raise ImproperlyConfigured(f"task {task.name!r}: atomic={using!r} is none of Django's DATABASES ({known})")
        block: AbstractContextManager[object] = transaction.atomic(using=using, durable=not task.request.is_eager)
        return block

    def aatomic(self, task: Task[Any, Any]) -> AbstractAsyncContextManager[object]:
        """Raise `ImproperlyConfigured`: see `check`."""
        self.check(task)
        raise AssertionError("check() has raised")

    def on_commit(self, function: Callable[[], object], using: Any) -> None:
        """Call `function` after the commit of the database `using`, at once outside of a transaction."""
        from django.db import transaction

        transaction.on_commit(function, using=using)
