"""What `app.connection()` gives to programs written for Celery: a name of the app's broker, and a way to ask whether it is there."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from celeriac.client import left_out
from celeriac.core.urls import mask
from celeriac.exceptions import BrokerUnavailable

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac

_PAUSE_S: Final = 1.0


class Connection:
    """Stands for the app's connections, which open and close by themselves; to be used in a `with` block or not. Thread-safe."""

    def __init__(self, app: Celeriac) -> None:
        self._app = app

    def as_uri(self, include_password: bool = False, mask: str = "**") -> str:
        """Return the broker's URL; the password is masked unless it is asked for."""
        return self._app.locations.broker if include_password else self._app.broker.shown_url()

    def connect(self) -> Self:
        """See whether the broker is there. Blocking. Raises `BrokerUnavailable`."""
        admin = self._app.broker.admin()
        try:
            admin.depths([self._app.settings.task_default_queue])
        finally:
            admin.close()
        return self

    def ensure_connection(
        self,
        errback: Callable[[Exception, float], object] | None = None,
        max_retries: int | None = None,
        interval_start: float = _PAUSE_S,
        timeout: float | None = None,
        **_options: Any,
    ) -> Self:
        """As `connect`, trying again every `interval_start` seconds.

        Args:
            errback: called with the error and the seconds until the next attempt.
            max_retries: so many further attempts; None: without end.
            timeout: seconds for all of them.
        """
        until = None if timeout is None else time.monotonic() + timeout
        retries = 0
        while True:
            try:
                return self.connect()
            except BrokerUnavailable as error:
                is_over = until is not None and time.monotonic() + interval_start > until
                if is_over or (max_retries is not None and retries >= max_retries):
                    raise
                retries += 1
                if errback is not None:
                    errback(error, interval_start)
                time.sleep(interval_start)

    @property
    def connected(self) -> bool:
        """Whether the broker is there. Blocking."""
        try:
            self.connect()
        except BrokerUnavailable:
            return False
        return True

    def clone(self) -> Connection:
        """Return another one."""
        return Connection(self._app)

    def close(self) -> None:
        """Do nothing: connections are the app's."""

    release = close

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _exc: BaseException | None, _tb: TracebackType | None
    ) -> None:
        self.close()

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            raise left_out.explain("the app's connection", name, left_out.OF_CONNECTIONS)

    def __repr__(self) -> str:
        return f"<Connection: {mask(self.as_uri())}>"
