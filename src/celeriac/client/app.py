"""The app: where a program's tasks, settings and connections come together."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import socket
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, Self, TypeVar, Unpack, cast, overload

from msgspec.structs import replace

from celeriac.backends import open_backend
from celeriac.brokers import open_broker
from celeriac.client import calls, result
from celeriac.client.conf import Conf
from celeriac.client.connections import Connections
from celeriac.client.context import Request, result_tuple, running_request
from celeriac.client.control import Control
from celeriac.client.decorators import BoundTaskDecorator, TaskDecorator
from celeriac.client.locations import Locations, locate
from celeriac.client.naming import gen_task_name
from celeriac.client.options import CallOptions, TaskOptions
from celeriac.client.publisher import UNTIL_DEADLINE, RetryPolicy, make_retry_policy
from celeriac.client.registry import TaskRegistry
from celeriac.client.signature import Signature
from celeriac.client.task import AsyncTask, Task
from celeriac.core.effects import Record
from celeriac.exceptions import InvalidTaskError, Retry
from celeriac.wire import result_meta

if TYPE_CHECKING:
    from celeriac.client.result_waiter import ResultWaiter
    from celeriac.core.effects import Invoke
    from celeriac.core.message import Message
    from celeriac.core.ports import Backend, Broker, ResultReader
    from celeriac.core.settings import Settings

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T", bound=Task[Any, Any])

Modules = Iterable[str] | Callable[[], Iterable[str]]


class Celeriac:
    """An application: its tasks, its settings, and its connections to broker and results.

    Args:
        main: the name of the program's main module, used in the names of tasks defined there.
        broker: URL, or a `Broker` of your own; without one the embedded broker is used, a file that needs no server.
        backend: URL of the result backend, or a `Backend` of your own.
        include: modules with tasks, imported by the worker.
        task_cls: base class of tasks that name none.
        settings: any setting, by its name.

    Nothing is connected before it is needed.  Thread-safe; a forked child opens connections of its own.  There is no current
    app: whoever needs the app imports it.
    """

    def __init__(
        self,
        main: str | None = None,
        *,
        broker: str | Broker | None = None,
        backend: str | Backend | None = None,
        include: Iterable[str] = (),
        task_cls: type[Task[Any, Any]] | None = None,
        **settings: Any,
    ) -> None:
        if isinstance(broker, str):
            settings["broker_url"], broker = broker, None
        if isinstance(backend, str):
            settings["result_backend"], backend = backend, None
        self.main = main
        self.include = [include] if isinstance(include, str) else list(include)
        self.Task: type[Task[Any, Any]] = task_cls or Task
        """Base class of tasks that name none; Celery's name."""
        self.tasks = TaskRegistry()
        self.control = Control(self)
        self._discover: list[tuple[Modules, str | None]] = []
        self._locations: Locations | None = None
        self._own_broker = broker
        self._own_backend = backend
        self._by_process: dict[int, Connections] = {}
        self._origin = (0, "")
        self.conf = Conf({}, self._settings_changed)
        self.settings: Settings = self.conf.settings
        """The settings in force: a snapshot that is replaced, never changed."""
        self.conf.update(settings)

    # -- tasks --------------------------------------------------------------------------------------------------------

    @overload
    def task(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncTask[P, R]: ...
    @overload
    def task(self, function: Callable[P, R], /) -> Task[P, R]: ...
    @overload
    def task(
        self,
        function: None = None,
        /,
        *,
        bind: Literal[True],
        name: str | None = ...,
        base: type[Task[Any, Any]] | None = ...,
        **options: Unpack[TaskOptions],
    ) -> BoundTaskDecorator: ...
    @overload
    def task(
        self,
        function: None = None,
        /,
        *,
        bind: Literal[False] = ...,
        name: str | None = ...,
        base: type[Task[Any, Any]] | None = ...,
        **options: Unpack[TaskOptions],
    ) -> TaskDecorator: ...
    def task(
        self,
        function: Callable[..., Any] | None = None,
        /,
        *,
        bind: bool = False,
        name: str | None = None,
        base: type[Task[Any, Any]] | None = None,
        **options: Unpack[TaskOptions],
    ) -> Any:
        """Make a task of a function; used as `@app.task` or `@app.task(...)`.

        Args:
            name: `module.function` if not given.
            bind: the function's first parameter is the task itself (`self.request`, `self.retry`).
            base: a subclass of `Task`, for handlers and shared options.
            options: see `TaskOptions`.

        Raises:
            ImproperlyConfigured: an option does not exist, or has a wrong value.
            AlreadyRegistered: another function has the name.
        """

        def make(function: Callable[..., Any]) -> Task[Any, Any]:
            if not callable(function) or isinstance(function, type | Task):
                raise InvalidTaskError(
                    f"@app.task takes a function, not {function!r}; for a class: app.register_task(Class())"
                )
            own_name = name or self.gen_task_name(function.__name__, function.__module__)
            kind = base or self.Task
            task = AsyncTask() if kind is Task and _is_async(function) else kind()
            task.define(self, own_name, options, function, bind)
            self.tasks.register(task)
            return task

        return make if function is None else make(function)

    def register_task(self, task: T | type[T], **options: Any) -> T:
        """Add a task written as a class with a `run` method (an instance, or the class); returns the instance.

        Raises as `task`.
        """
        instance = task() if isinstance(task, type) else task
        kind = type(instance)
        name = instance.name or self.gen_task_name(kind.__name__, kind.__module__)
        instance.define(self, name, options, None, bind=False)
        self.tasks.register(instance)
        return instance

    def gen_task_name(self, name: str, module: str) -> str:
        """Return the name of a task that is given none."""
        return gen_task_name(self.main, name, module)

    def autodiscover_tasks(self, packages: Modules, related_name: str | None = "tasks", force: bool = False) -> None:
        """Have the worker import `<package>.<related_name>` of each package that has such a module.

        `packages` may be a function, called when the time has come.  `force` imports at once.
        """
        self._discover.append((packages, related_name))
        if force:
            self._import_discovered(packages, related_name)

    def import_default_modules(self) -> None:
        """Import what `include` and `autodiscover_tasks` name, as a worker does at its start. Idempotent."""
        for module in self.include:
            importlib.import_module(module)
        for packages, related_name in self._discover:
            self._import_discovered(packages, related_name)

    @staticmethod
    def _import_discovered(packages: Modules, related_name: str | None) -> None:
        for package in packages() if callable(packages) else packages:
            importlib.import_module(package)
            # Looked for first, so that an error inside of an existing module is not taken for its absence.
            if related_name and importlib.util.find_spec(f"{package}.{related_name}") is not None:
                importlib.import_module(f"{package}.{related_name}")

    # -- settings -----------------------------------------------------------------------------------------------------

    def config_from_object(self, source: object, namespace: str | None = None) -> None:
        """Take settings from a mapping, an object, or a module (`"module"` or `"module:attribute"`).

        With a namespace the settings are those that begin with it, in upper case: `CELERY_TASK_TIME_LIMIT`.  Of a module's
        other variables only those are looked at that begin as settings do.  Raises `ImproperlyConfigured`.
        """
        self.conf.config_from_object(source, namespace)

    def config_from_envvar(self, variable: str) -> None:
        """Take settings from the module that an environment variable names. Raises `ImproperlyConfigured`."""
        self.conf.config_from_envvar(variable)

    def _settings_changed(self, settings: Settings) -> None:
        before = getattr(self, "settings", settings)
        self.settings = settings
        for name in settings.__struct_fields__:
            if name.startswith(("broker_", "result_")) and getattr(before, name) != getattr(settings, name):
                self.close()
                return

    # -- where things are ---------------------------------------------------------------------------------------------

    @property
    def locations(self) -> Locations:
        """The URLs in force of broker and result backend; with passwords, so not to be shown."""
        if self._locations is None:
            shown = self._own_broker.shown_url() if self._own_broker is not None else None
            self._locations = locate(self.settings, os.environ, Path.cwd(), shown)
        return self._locations

    @property
    def broker(self) -> Broker:
        """The broker. Raises `ImproperlyConfigured` for a URL that names none."""
        return self._connections.broker

    @property
    def backend(self) -> Backend:
        """The result backend. Raises `ImproperlyConfigured` for a URL that names none."""
        return self._connections.backend

    def _open_broker(self) -> Broker:
        return self._own_broker or open_broker(self.locations.broker, self._located_settings())

    def _open_backend(self) -> Backend:
        return self._own_backend or open_backend(self.locations.backend, self._located_settings())

    def _located_settings(self) -> Settings:
        """Return the settings with the URLs in force: broker and backend look at each other's."""
        broker_url, backend_url = self.locations
        return replace(self.settings, broker_url=broker_url, result_backend=backend_url)

    @property
    def origin(self) -> str:
        """Who sends, as messages say it: `gen<pid>@<host>`; a worker puts its node name here."""
        pid, origin = self._origin
        if pid != os.getpid():
            origin = f"gen{os.getpid()}@{socket.gethostname()}"
            self._origin = (os.getpid(), origin)
        return origin

    @origin.setter
    def origin(self, node_name: str) -> None:
        self._origin = (os.getpid(), node_name)

    @property
    def reply_to(self) -> str | None:
        """The queue for results of what this process sends, for backends that send them; None for all others."""
        return self._connections.reply_to(self.settings.publish_timeout_s)

    @property
    def _connections(self) -> Connections:
        pid = os.getpid()
        here = self._by_process.get(pid)
        if here is None:
            # `setdefault` settles a race of two threads; making one opens nothing.
            here = self._by_process.setdefault(pid, Connections(self._open_broker, self._open_backend))
        return here

    @property
    def _reader(self) -> ResultReader:
        return self._connections.reader

    @property
    def _waiter(self) -> ResultWaiter:
        return self._connections.waiter

    def close(self) -> None:
        """Send what coroutines have handed over, and close this process's connections; the next use opens new ones.

        Idempotent.  Blocks up to `publish_timeout_s`.
        """
        here = self._by_process.pop(os.getpid(), None)
        if here is not None:
            here.close(self.settings.publish_timeout_s)
        self._locations = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _exc: BaseException | None, _tb: TracebackType | None
    ) -> None:
        self.close()

    # -- calls --------------------------------------------------------------------------------------------------------

    def send_task(
        self,
        name: str,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Unpack[CallOptions],
    ) -> result.AsyncResult[Any]:
        """Send a call of a task by its name; the task need not be known here, so arguments are not checked.

        Options and errors are those of `Task.apply_async`.
        """
        message = calls.build_message(self, name, args or (), kwargs or {}, options, self._defaults_of(name))
        self._publish(message, options)
        return self._result_of(message, options)

    async def asend_task(
        self,
        name: str,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Unpack[CallOptions],
    ) -> result.AsyncResult[Any]:
        """As `send_task`, without blocking the event loop."""
        message = calls.build_message(self, name, args or (), kwargs or {}, options, self._defaults_of(name))
        await self._apublish(message, options)
        return self._result_of(message, options)

    def AsyncResult(self, id: str, task_name: str | None = None, parent: Any = None) -> result.AsyncResult[Any]:  # noqa: N802
        """Return the result of a call by its id."""
        return result.AsyncResult(id, app=self, parent=parent)

    def signature(
        self,
        name: str | Mapping[str, Any],
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        *,
        immutable: bool = False,
        **options: Any,
    ) -> Signature:
        """Return the signature of a call of a task by its name, or the one that a dict says."""
        return Signature(name, args, kwargs, options, immutable=immutable, app=self)

    def message(
        self,
        name: str,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        *,
        parent_id: str | None = None,
        root_id: str | None = None,
        chain: Sequence[Mapping[str, Any]] | None = None,
    ) -> Message:
        """Return the message of a call without sending it; `chain` is what follows it, last step first.

        Options and errors are those of `Task.apply_async`.
        """
        task = self.tasks.get(name)
        defaults = task.defaults if task is not None else self._defaults_of(name)
        own = {"parent_id": parent_id, "root_id": root_id, "chain": chain}
        return calls.build_message(self, name, args, kwargs or {}, {**(options or {}), **own}, defaults)

    def message_from_invoke(self, invoke: Invoke, index: int = 0, reply_to: str | None = None) -> Message:
        """Return the message of a follow-up; its id is derived from the parent's, so that a repeat gives the same.

        `index` is the place among the parent's follow-ups, `reply_to` the parent's reply queue.
        """
        return calls.message_from_invoke(self, invoke, index, reply_to)

    def _send_task_call(
        self, task: Task[Any, R], args: Sequence[Any], kwargs: Mapping[str, Any], options: Mapping[str, Any]
    ) -> result.AsyncResult[R]:
        if self.settings.task_always_eager:
            from celeriac.client.eager import apply_eagerly

            return cast("result.AsyncResult[R]", apply_eagerly(task, args, kwargs, options))
        task.check_arguments(args, kwargs)
        message = calls.build_message(self, task.name, args, kwargs, options, task.defaults)
        self._publish(message, options)
        return self._result_of(message, options)

    async def _asend_task_call(
        self, task: Task[Any, R], args: Sequence[Any], kwargs: Mapping[str, Any], options: Mapping[str, Any]
    ) -> result.AsyncResult[R]:
        if self.settings.task_always_eager:
            from celeriac.client.eager import aapply_eagerly

            return cast("result.AsyncResult[R]", await aapply_eagerly(task, args, kwargs, options))
        task.check_arguments(args, kwargs)
        message = calls.build_message(self, task.name, args, kwargs, options, task.defaults)
        await self._apublish(message, options)
        return self._result_of(message, options)

    def _send_retry(self, task: Task[Any, Any], request: Request, asked: Retry) -> None:
        """Send a retry beside the running task, which goes on."""
        message = calls.message_from_request(task, request, asked)
        if request.is_eager:
            return  # it is running to its end here and now, and there is nobody to send it to
        self._publish(message, {})

    def _store_state(self, task_id: str, state: str, meta: Any) -> None:
        document = result_meta.ResultMeta(status=state, result=meta, children=None, task_id=task_id)
        payload = result_meta.encode(document, max_bytes=self.settings.result_max_bytes)
        self._reader.store([Record(task_id, state, payload, self.settings.result_expires)])

    def _defaults_of(self, name: str) -> calls.Defaults:
        defaults = calls.defaults_of_name(name, self.settings)
        task = self.tasks.get(name)
        if task is not None:
            defaults.route = task.defaults.route  # where its workers are; all else is the worker's to know
        return defaults

    def _publish(self, message: Message, options: Mapping[str, Any]) -> None:
        policy = _retry_policy(options)
        self._connections.publisher.publish([message], self.settings.publish_timeout_s, policy)

    async def _apublish(self, message: Message, options: Mapping[str, Any]) -> None:
        policy = _retry_policy(options)
        await self._connections.async_publisher.publish(message, self.settings.publish_timeout_s, policy)

    def _result_of(self, message: Message, options: Mapping[str, Any]) -> result.AsyncResult[Any]:
        task_id = message.id
        running = running_request()
        if running is not None and options.get("add_to_parent", True):
            running.children.append(result_tuple(task_id))
        return result.AsyncResult(task_id, app=self, ignored=bool(message.headers["ignore_result"]))

    def __repr__(self) -> str:
        return f"<Celeriac {self.main or '__main__'}: {len(self.tasks)} tasks>"


Celery = Celeriac
"""Celery's name of the class."""


def _is_async(function: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(function)


def _retry_policy(options: Mapping[str, Any]) -> RetryPolicy:
    if not options:
        return UNTIL_DEADLINE
    return make_retry_policy(options.get("retry", True), options.get("retry_policy"))
