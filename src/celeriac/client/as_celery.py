"""What differs in a process that runs a program written for Celery as it is; switched on by `celeriac.compat`.

1. Options that do not exist are kept: those of a task become attributes of it, those of a call are passed over.  Elsewhere they are
   refused, as mistakes that would have no effect.
2. Each task that `@app.task` makes has a class of its own: base classes look at `cls.run`, `cls.name` and `cls.app`.
3. Where no broker is named it is Celery's: processes of the same program that still run on Celery are there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac
    from celeriac.client.task import Task


class AsCelery:
    """The switch; off in most processes."""

    is_on = False

    @property
    def default_broker(self) -> str | None:
        """The URL of the broker where the program names none; None: the embedded file."""
        return "amqp://" if self.is_on else None


as_celery: Final = AsCelery()


def class_of(
    kind: type[Task[Any, Any]], app: Celeriac, name: str, function: Callable[..., Any], bind: bool
) -> type[Task[Any, Any]]:
    """Return the class of a task that is made of a function: the base itself, or one of the task's own."""
    if not as_celery.is_on:
        return kind
    variables = {
        "app": app,
        "name": name,
        "run": function if bind else staticmethod(function),
        "__module__": function.__module__,
        "__doc__": function.__doc__,
    }
    return type(function.__name__, (kind,), variables)
