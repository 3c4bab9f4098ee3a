"""What Celery's app offers besides: the time, an identity, and the command line from within a program."""

from __future__ import annotations

import importlib
import sys
import threading
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, tzinfo
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from celeriac.client import left_out
from celeriac.client.lamport import LamportClock
from celeriac.client.naming import main_module_name

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac
    from celeriac.client.clock import TimeSource
    from celeriac.client.conf import Conf
    from celeriac.client.connection import Connection
    from celeriac.core.settings import Settings


class AppExtras:
    """The part of the app that no other part needs."""

    time_source: TimeSource
    main: str | None

    if TYPE_CHECKING:
        conf: Conf

        @cached_property
        def settings(self) -> Settings: ...

    else:

        def __getattr__(self, name: str) -> Any:
            if hasattr(type(self), name):  # a property that raised AttributeError itself: that error is to be seen
                return object.__getattribute__(self, name)
            raise left_out.explain("the app", name, left_out.OF_APPS)

    # -- time ---------------------------------------------------------------------------------------------------------

    @property
    def timezone(self) -> tzinfo:
        """The zone of the setting `timezone`; without one UTC, or the machine's own where `enable_utc` is off."""
        if self.settings.timezone:
            from zoneinfo import ZoneInfo

            return ZoneInfo(self.settings.timezone)
        local = datetime.now(UTC).astimezone().tzinfo
        return UTC if self.settings.enable_utc or local is None else local

    def now(self) -> datetime:
        """Return the time in the app's zone."""
        return datetime.fromtimestamp(self.time_source.time(), self.timezone)

    def uses_utc_timezone(self) -> bool:
        """Tell whether the app's zone is UTC."""
        return self.timezone is UTC or str(self.timezone) == "UTC"

    # -- the broker, for programs written for Celery ------------------------------------------------------------------

    def connection(self, *_args: Any, **_options: Any) -> Connection:
        """Return what stands for the app's connections; arguments are accepted for Celery's sake."""
        from celeriac.client.connection import Connection

        return Connection(cast("Celeriac", self))

    connection_for_read = connection
    connection_for_write = connection
    connection_or_acquire = connection
    broker_connection = connection
    default_connection = connection

    # -- identity -----------------------------------------------------------------------------------------------------

    @cached_property
    def oid(self) -> str:
        """An id of this app in this process."""
        return str(uuid.uuid4())

    @cached_property
    def clock(self) -> LamportClock:
        """The logical clock of this app in this process, by which requests and events are put in order."""
        return LamportClock()

    @property
    def thread_oid(self) -> str:
        """An id of this app in this thread."""
        return str(uuid.uuid5(uuid.UUID(self.oid), str(threading.get_ident())))

    @property
    def namespace(self) -> str | None:
        """The prefix of the app's settings in the object that they come from; see `config_from_object`."""
        return self.conf.namespace

    def either(self, setting: str, *values: Any) -> Any:
        """Return the first value that is not None, else the setting."""
        given = next((value for value in values if value is not None), None)
        return getattr(self.settings, setting) if given is None else given

    # -- the command line ---------------------------------------------------------------------------------------------

    def start(self, argv: Sequence[str] | None = None) -> None:
        """Run the command line for this app with these arguments, by default the program's own, and exit with its code.

        The app has to be found by importing the program's main module, which must not start again what it starts:
        `if __name__ == "__main__": app.start()`.
        """
        # By name: the command line stands above everything else and is needed by nothing but this.
        command_line = importlib.import_module("celeriac.cli")
        command_line.main(["-A", self._import_path(), *(sys.argv[1:] if argv is None else argv)])

    def worker_main(self, argv: Sequence[str] | None = None) -> None:
        """Run a worker for this app, as `celeriac worker` does; `argv` are its options, with or without `worker` before them."""
        given = list(sys.argv[1:] if argv is None else argv)
        self.start(given if "worker" in given else ["worker", *given])

    def _import_path(self) -> str:
        """Return where executors find this app: `module:variable`."""
        modules = sys.modules.copy()
        main_module = modules.get("__main__")
        for name, module in {"__main__": main_module, **modules}.items():
            for variable, value in list(vars(module).items()) if module is not None else ():
                if value is self:
                    return f"{main_module_name() if name == '__main__' else name}:{variable}"
        return self.main or main_module_name()
