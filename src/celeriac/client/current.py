"""The app and the task that "current" means, for programs that do not pass them around.

The only global state of the package.  `Celeriac(...)` makes itself current in the thread that creates it and, when it is the
first, for all threads; that is how Celery has it, and what `shared_task` and `AsyncResult(id)` without an app rely on.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, cast

from celeriac.client.context import current_request
from celeriac.exceptions import AlreadyRegistered, CeleriacError, ImproperlyConfigured

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac
    from celeriac.client.task import Task

Definition = Callable[["Celeriac"], "Task[Any, Any]"]


class _State(threading.local):
    app: Celeriac | None = None


class _Apps:
    """What is shared by the process: its apps, the default one, and the tasks that belong to all of them."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.known: weakref.WeakSet[Celeriac] = weakref.WeakSet()
        self.default: Celeriac | None = None
        self.definitions: list[Definition] = []
        self.make: Callable[[], Celeriac] | None = None


_state: Final = _State()
_apps: Final = _Apps()


def adopt(app: Celeriac, *, as_current: bool) -> None:
    """Note a new app, and give it the shared tasks that there are."""
    with _apps.lock:
        _apps.known.add(app)
        definitions = list(_apps.definitions)
    if as_current:
        set_current_app(app)
        if _apps.default is None:
            _apps.default = app
    for define in definitions:
        define(app)


def share(definition: Definition) -> None:
    """Give a task to every app, those to come included."""
    with _apps.lock:
        _apps.definitions.append(definition)
        apps = list(_apps.known)
    for app in apps:
        try:
            definition(app)
        except AlreadyRegistered:
            # An app that is not this program's main one, as tests leave them behind, keeps what it has.
            if app is find_current_app():
                raise


def set_current_app(app: Celeriac | None) -> None:
    """Make an app the current one of this thread."""
    _state.app = app


def set_default_app(app: Celeriac | None) -> None:
    """Make an app the current one of threads that have none of their own."""
    _apps.default = app


@contextmanager
def kept() -> Iterator[None]:
    """Put the current and the default app, the known apps and the shared tasks back after a `with` block; for tests."""
    app, default = _state.app, _apps.default
    with _apps.lock:
        known, definitions = list(_apps.known), list(_apps.definitions)
    try:
        yield
    finally:
        _state.app, _apps.default = app, default
        with _apps.lock:
            _apps.known, _apps.definitions = weakref.WeakSet(known), definitions


def set_app_maker(make: Callable[[], Celeriac] | None) -> None:
    """Have an app made when a program that has made none asks for the current one: Celery's way, which hides mistakes."""
    _apps.make = make


def get_current_app() -> Celeriac:
    """Return the current app. Raises `ImproperlyConfigured` when the program has made none."""
    app = _state.app or _apps.default
    if app is None and _apps.make is not None:
        app = _apps.default = _apps.make()
    if app is None:
        raise ImproperlyConfigured(
            "there is no current app: create one first, as in app = Celeriac('proj', broker=...), and import its module"
        )
    return app


def find_current_app() -> Celeriac | None:
    """Return the current app, None if there is none."""
    return _state.app or _apps.default


def get_current_task() -> Task[Any, Any] | None:
    """Return the task whose function runs here, None outside of any."""
    request = current_request.get()
    app = find_current_app()
    if request is None:
        return None
    if request.owner is not None:
        return cast("Task[Any, Any]", request.owner)
    return app.tasks.get(request.task) if app is not None else None


def get_current_worker_task() -> Task[Any, Any] | None:
    """Return the task that a worker runs here, whatever functions of other tasks it has called directly."""
    request = current_request.get()
    while request is not None and request.called_directly:
        request = request.enclosing
    return cast("Task[Any, Any] | None", request.owner if request is not None else None)


class Proxy:
    """Stands for an object that is looked up each time it is used."""

    __slots__ = ("__weakref__", "_look_up")

    _look_up: Callable[[], Any]

    def __init__(self, look_up: Callable[[], Any]) -> None:
        object.__setattr__(self, "_look_up", look_up)

    def _get_current_object(self) -> Any:
        return self._look_up()

    @property
    def __class__(self) -> Any:
        try:
            return type(self._look_up())
        except CeleriacError:  # there is none yet: whoever asks for the type of everything in a module gets an answer
            return Proxy

    @__class__.setter
    def __class__(self, _value: Any) -> None:
        raise TypeError("a proxy keeps its class")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._look_up(), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._look_up(), name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self._look_up(), name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._look_up()(*args, **kwargs)

    def __bool__(self) -> bool:
        return bool(self._look_up())

    def __eq__(self, other: object) -> bool:
        return bool(self._look_up() == (other._look_up() if type(other) is Proxy else other))

    def __hash__(self) -> int:
        return hash(self._look_up())

    def __dir__(self) -> list[str]:
        return dir(self._look_up())

    def __repr__(self) -> str:
        return repr(self._look_up())

    def __str__(self) -> str:
        return str(self._look_up())

    def __reduce__(self) -> Any:
        return self._look_up().__reduce__()


if TYPE_CHECKING:
    current_app: Celeriac
    current_task: Task[Any, Any]
else:
    current_app = Proxy(get_current_app)
    current_task = Proxy(get_current_task)
