"""An app's letters in one process: requests to workers, replies, and events."""

from __future__ import annotations

import atexit
import os
from typing import TYPE_CHECKING, Final, cast

from celeriac.client.background import BackgroundLoop
from celeriac.client.correspondence import Correspondence
from celeriac.client.event_outbox import EventOutbox

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac

_END_S: Final = 2.0


class Letters:
    """What sends and receives letters, on one background loop that goes with it.

    The end of the process closes them, too: events that were told just before are sent, and no mailbox is left behind.
    """

    def __init__(self, app: Celeriac) -> None:
        self._pid = os.getpid()
        self.background = BackgroundLoop("celeriac-letters")
        self.correspondence = Correspondence(app, self.background)
        self.events = EventOutbox(app, self.background)
        atexit.register(self.close)

    def close(self) -> None:
        """Close the connections and end the thread. Idempotent, blocking."""
        if self._pid != os.getpid():
            return  # a fork: neither the thread nor the connections are ours
        atexit.unregister(self.close)
        self.correspondence.close()
        self.events.close()
        self.background.close(_END_S)


def letters_of(app: Celeriac) -> Letters:
    """Return those of this process, made when they are first needed."""
    return cast("Letters", app._connections.part("letters", lambda: Letters(app)))
