"""Apps for tests: everything in memory, and nothing left behind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NoReturn

from celeriac.client import current
from celeriac.client.app import Celeriac
from celeriac.client.locations import Locations, locate

DEFAULT_TEST_CONFIG: Final[Mapping[str, Any]] = {
    "worker_hijack_root_logger": False,
    "worker_log_color": False,
    "accept_content": ["json"],
    "enable_utc": True,
    "timezone": "UTC",
    "broker_url": "memory://",
    "result_backend": "cache+memory://",
    "broker_heartbeat": 0,
}
"""The settings that a test's app has unless it says otherwise."""


class UnitLogging:
    """Leaves logging to the test: what `TestApp(log=...)` takes for Celery's sake."""


class TestApp(Celeriac):
    """An app for a test, with broker and results in memory.

    Args:
        name: of its main module.
        config: settings.
        enable_logging: let workers of this app set the level and the file of the log, as `start_worker` is told.
        set_as_current: make it the current app.
        log: accepted for Celery's sake.
        broker, backend: URLs, which go before those in `config`.
        parameters: whatever else `Celeriac` takes.
    """

    __test__ = False

    def __init__(
        self,
        name: str | None = None,
        config: Mapping[str, Any] | None = None,
        enable_logging: bool = False,
        set_as_current: bool = False,
        log: Any = UnitLogging,
        backend: str | None = None,
        broker: str | None = None,
        **parameters: Any,
    ) -> None:
        from celeriac.contrib.testing import tasks as _tasks  # noqa: F401 - every app of a test has the ping task

        settings = {**DEFAULT_TEST_CONFIG, **(config or {})}
        if broker is not None:
            settings["broker_url"] = broker
        if backend is not None:
            settings["result_backend"] = backend
        main = parameters.pop("main", None)
        super().__init__(name or main or "celeriac.tests", set_as_current=set_as_current, **parameters)
        self.enable_logging = enable_logging
        self.conf.update(settings)

    @property
    def locations(self) -> Locations:
        """The URLs in force. The environment has no say: a test must never reach by accident what the program uses."""
        if self._locations is None:
            self._locations = locate(self.settings, {}, Path.cwd())
        return self._locations


class Trap:
    """Stands in for the current app, and complains when anybody uses it."""

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("_"):
            raise AttributeError(name)  # whoever only looks what this is
        raise RuntimeError(
            f"the test depends on the current app: something asked it for {name!r} instead of being given its own app"
        )


@contextmanager
def set_trap(app: Celeriac) -> Iterator[None]:
    """Have everything that uses the current app, instead of `app`, raise `RuntimeError` for the length of a `with` block."""
    with current.kept():
        trap: Any = Trap()
        current.set_default_app(trap)
        current.set_current_app(trap)
        yield


@contextmanager
def setup_default_app(app: Celeriac, use_trap: bool = False) -> Iterator[None]:
    """Put the current app, the default app and the shared tasks back after the `with` block, and close `app`."""
    with current.kept():
        try:
            if use_trap:
                with set_trap(app):
                    yield
            else:
                yield
        finally:
            app.close()
