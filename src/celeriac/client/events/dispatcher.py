"""Sending events of a program's own: `app.events.Dispatcher`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from celeriac.client.events.event import Event, anon_nodename, group_from, hours_west
from celeriac.client.letters import letters_of
from celeriac.exceptions import OperationalError

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac


class Dispatcher:
    """Sends events in a program's name; Celery's interface. Thread-safe, blocking.

    Args:
        hostname: in whose name; by default that of this process.
        enabled: False: nothing is sent until `enable`.
        buffer_while_offline: keep what could not be sent, for `flush`; else `send` raises.
        groups: send events of these groups only (`task` of `task-sent`); none: all.
        connection, channel and other options: accepted for Celery's sake.
    """

    def __init__(
        self,
        connection: object = None,
        hostname: str | None = None,
        enabled: bool = True,
        channel: object = None,
        buffer_while_offline: bool = True,
        app: Celeriac | None = None,
        serializer: str | None = None,
        groups: Iterable[str] | None = None,
        **_options: Any,
    ) -> None:
        assert app is not None, "made by app.events.Dispatcher()"
        self.app = app
        self.hostname = hostname or anon_nodename()
        self.enabled = enabled
        self.buffer_while_offline = buffer_while_offline
        self.groups = frozenset(groups or ())
        self.on_enabled: set[Callable[[], object]] = set()
        self.on_disabled: set[Callable[[], object]] = set()
        self._kept: list[dict[str, Any]] = []

    def send(self, type: str, blind: bool = False, **fields: Any) -> None:
        """Send an event; `blind` leaves its logical clock out.

        Raises `BrokerUnavailable`, if what could not be sent is not kept, and `EncodeError` for fields that are no plain data.
        """
        if not self.enabled or (self.groups and group_from(type) not in self.groups):
            return
        retry_options = ("retry", "retry_policy", "utcoffset", "Event")
        self.publish(type, {name: value for name, value in fields.items() if name not in retry_options}, blind=blind)

    def publish(
        self, type: str, fields: Mapping[str, Any], producer: object = None, blind: bool = False, **_options: Any
    ) -> None:
        """As `send`, whether enabled or not."""
        event = Event(
            type,
            {
                "hostname": self.hostname,
                "utcoffset": hours_west(),
                "pid": os.getpid(),
                "clock": None if blind else self.app.clock.forward(),
                **fields,
            },
        )
        self._send([event])

    def flush(self, errors: bool = True, groups: bool = True) -> None:
        """Send what was kept. Raises `BrokerUnavailable`, if it is not kept on."""
        if self._kept:
            kept, self._kept = self._kept, []
            self._send(kept)

    def enable(self) -> None:
        """Send from now on."""
        self.enabled = True
        for callback in self.on_enabled:
            callback()

    def disable(self) -> None:
        """Send nothing from now on. Idempotent."""
        if self.enabled:
            self.enabled = False
            for callback in self.on_disabled:
                callback()

    def close(self) -> None:
        """Do nothing: the connection is the app's."""

    def _send(self, events: list[dict[str, Any]]) -> None:
        try:
            letters_of(self.app).events.send(events)
        except OperationalError:
            if not self.buffer_while_offline:
                raise
            self._kept += events
            del self._kept[: -self.app.settings.event_buffer_max]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _exc: BaseException | None, _tb: TracebackType | None
    ) -> None:
        self.close()
