"""Events: what workers and clients tell whoever listens; `app.events`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from celeriac.client.events.dispatcher import Dispatcher as EventDispatcher
from celeriac.client.events.receiver import Receiver as EventReceiver
from celeriac.client.events.state import State as ClusterState

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac


class Events:
    """`app.events`."""

    def __init__(self, app: Celeriac) -> None:
        self._app = app

    @property
    def Receiver(self) -> Callable[..., EventReceiver]:  # noqa: N802
        """Makes a `Receiver` of this app: `app.events.Receiver(connection, handlers={"task-failed": report})`."""
        return partial(EventReceiver, app=self._app)

    @property
    def Dispatcher(self) -> Callable[..., EventDispatcher]:  # noqa: N802
        """Makes a `Dispatcher` of this app."""
        return partial(EventDispatcher, app=self._app)

    @property
    def State(self) -> type[ClusterState]:  # noqa: N802
        """Makes a `State`."""
        return ClusterState

    @contextmanager
    def default_dispatcher(
        self, hostname: str | None = None, enabled: bool = True, buffer_while_offline: bool = False
    ) -> Iterator[EventDispatcher]:
        """Give a dispatcher for the time of a `with` block."""
        with self.Dispatcher(None, hostname, enabled, buffer_while_offline=buffer_while_offline) as dispatcher:
            yield dispatcher
