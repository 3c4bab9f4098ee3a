"""`kombu.Producer`: packages that record sending replace its `publish`; Celeriac itself sends by other means."""

from __future__ import annotations

from typing import Any, NoReturn

from celeriac.exceptions import ImproperlyConfigured


class Producer:
    """Stands for the class; nothing is sent through it."""

    def __init__(self, *_args: Any, **_named: Any) -> None:
        raise ImproperlyConfigured(
            "there is no kombu.Producer here: send with app.send_task, or use your broker's own client"
        )

    def publish(self, *_args: Any, **_named: Any) -> NoReturn:
        """Is never called."""
        raise ImproperlyConfigured("there is no kombu.Producer here: send with app.send_task")
