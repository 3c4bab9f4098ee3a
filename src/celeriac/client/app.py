"""The app: where a program's tasks, settings and connections come together."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import socket
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, Self, TypeVar, Unpack, overload

from msgspec.structs import replace

from celeriac.backends import open_backend
from celeriac.brokers import open_broker
from celeriac.client import calls, result, result_set, signals
from celeriac.client.amqp import AMQP
from celeriac.client.annotations import annotate
from celeriac.client.app_extras import AppExtras
from celeriac.client.as_celery import as_celery, class_of
from celeriac.client.bugreport import bugreport
from celeriac.client.canvas.builtins import builtin_task
from celeriac.client.canvas.signature import Signature, signature
from celeriac.client.canvas.typed import Sent
from celeriac.client.clock import SYSTEM_TIME, TimeSource
from celeriac.client.conf import Conf
from celeriac.client.connections import Connections
from celeriac.client.content import Content, setup_security
from celeriac.client.current import adopt, get_current_task, get_current_worker_task, set_current_app, set_default_app
from celeriac.client.decorators import BoundTaskDecorator, TaskDecorator
from celeriac.client.dispatching import Signal
from celeriac.client.fixups import find_fixup
from celeriac.client.group_result import GroupResults
from celeriac.client.locations import Locations, locate
from celeriac.client.naming import gen_task_name
from celeriac.client.options import CallOptions, TaskOptions
from celeriac.client.publish_buffer import BufferLimits, PublishBuffer
from celeriac.client.registry import TaskRegistry
from celeriac.client.result_base import ResultBase
from celeriac.client.sending import Sender
from celeriac.client.task import AsyncTask, Task
from celeriac.client.transactions import Outbox, Transactions, check_all_atomic
from celeriac.core.queues import QueueTable
from celeriac.exceptions import InvalidTaskError

if TYPE_CHECKING:
    from celeriac.client.control import Control
    from celeriac.client.events import Events
    from celeriac.client.log_setup import Logging
    from celeriac.client.result_waiter import ResultWaiter
    from celeriac.core.effects import Invoke
    from celeriac.core.message import Message
    from celeriac.core.ports import Backend, Broker, ResultReader
    from celeriac.core.settings import Settings

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T", bound=Task[Any, Any])

Modules = Iterable[str] | Callable[[], Iterable[str]]


class Celeriac(AppExtras):
    """An application: its tasks, its settings, and its connections to broker and results.

    Args:
        main: the name of the program's main module, used in the names of tasks defined there.
        broker: URL, or a `Broker` of your own; without one the embedded broker is used, a file that needs no server.
        backend: URL of the result backend, or a `Backend` of your own.
        include: modules with tasks, imported by the worker.
        task_cls: base class of tasks that name none, or its import path.
        config_source: as for `config_from_object`, with `namespace`.
        changes: settings, as a mapping.
        set_as_current: make it the app that `current_app`, `shared_task` and `AsyncResult(id)` mean in this thread.
        strict_typing: False: calls are not compared with the signatures of tasks that do not say `typing` themselves.
        settings: any setting, by its name.

    Nothing is connected before it is needed.  Thread-safe; a forked child opens connections of its own.
    """

    def __init__(
        self,
        main: str | None = None,
        *,
        broker: str | Broker | None = None,
        backend: str | Backend | None = None,
        include: Iterable[str] = (),
        task_cls: type[Task[Any, Any]] | str | None = None,
        config_source: object = None,
        namespace: str | None = None,
        changes: Mapping[str, Any] | None = None,
        set_as_current: bool = True,
        strict_typing: bool = True,
        **settings: Any,
    ) -> None:
        if isinstance(broker, str):
            settings["broker_url"], broker = broker, None
        if isinstance(backend, str):
            settings["result_backend"], backend = backend, None
        self.main = main
        self.include = [include] if isinstance(include, str) else list(include)
        self.fixup = find_fixup(self)
        """What the program's framework changes: Django's, where DJANGO_SETTINGS_MODULE is set."""
        self.transactions: Transactions | None = self.fixup.transactions if self.fixup is not None else None
        """How the program's database does transactions; a database integration puts itself here."""
        self._outbox: Outbox | None = None
        task_cls = task_cls or getattr(type(self), "task_cls", None)  # of a subclass written for Celery
        task_cls = task_cls or (self.fixup.task_class if self.fixup is not None else None)
        self.Task: type[Task[Any, Any]] = _imported_class(task_cls) if isinstance(task_cls, str) else task_cls or Task
        """Base class of tasks that name none; Celery's name."""
        self.strict_typing = strict_typing
        self.on_configure = Signal("app.on_configure")
        self.on_after_configure = Signal("app.on_after_configure")
        self.on_after_finalize = Signal("app.on_after_finalize")
        self.on_after_fork = Signal("app.on_after_fork")
        """Sent in each executor of a worker, right after it was forked."""
        self.finalized = False
        self.tasks = TaskRegistry(partial(builtin_task, self))
        self.sender = Sender(self)
        self.periodic_tasks: dict[str, dict[str, Any]] = {}
        """Entries of the schedule that the program's code has added, as in `beat_schedule`."""
        self.time_source: TimeSource = SYSTEM_TIME
        """What a task can notice goes by it; tests put a clock of their own here, before anything is opened."""
        self._discover: list[tuple[Modules, str | None]] = []
        self._locations: Locations | None = None
        self._own_broker = broker
        self._amqp: AMQP | None = None
        self._own_backend = backend
        self._by_process: dict[int, Connections] = {}
        self._origin = (0, "")
        self._content: Content | None = None
        self.conf = Conf(changes or {}, self._settings_changed, lambda: self.on_configure.send(self))
        self.conf.set_keywords(settings)
        if config_source is not None:
            self.config_from_object(config_source, namespace=namespace)
        adopt(self, as_current=set_as_current)

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
        shared: bool = ...,
        lazy: bool = ...,
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
        shared: bool = ...,
        lazy: bool = ...,
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
        shared: bool = False,
        lazy: bool = True,
        **options: Unpack[TaskOptions],
    ) -> Any:
        """Make a task of a function; used as `@app.task` or `@app.task(...)`.

        Args:
            name: `module.function` if not given.
            bind: the function's first parameter is the task itself (`self.request`, `self.retry`).
            base: a subclass of `Task`, for handlers and shared options.
            shared, lazy: accepted for Celery's sake: a task belongs to its app, and is made at once.
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
            kind = AsyncTask if kind is Task and _is_async(function) else kind
            task = class_of(kind, self, own_name, function, bind)()
            task.define(self, own_name, options, function, bind)
            return self._register(task)

        return make if function is None else make(function)

    def register_task(self, task: T | type[T], **options: Any) -> T:
        """Add a task written as a class with a `run` method (an instance, or the class); returns the instance.

        Raises as `task`.
        """
        instance = task() if isinstance(task, type) else task
        kind = type(instance)
        name = instance.name or self.gen_task_name(kind.__name__, kind.__module__)
        instance.define(self, name, options, None, bind=False)
        return self._register(instance)

    def _register(self, task: T) -> T:
        if self.conf.configured and self.settings.task_annotations:  # else it happens when settings are read
            annotate(task, self.settings.task_annotations)
        self.tasks.register(task)
        task.on_bound(self)
        return task

    def finalize(self, auto: bool = False) -> None:
        """Say that the app is complete: `on_after_configure` and `on_after_finalize` are sent. Idempotent.

        A worker and the command line do it once they have imported the app's modules.
        """
        if not self.finalized:
            self.finalized = True
            _ = self.settings  # what is wrong in the configuration is told now
            self.on_after_configure.send(self, source=self.conf)
            self.on_after_finalize.send(self)

    def set_current(self) -> None:
        """Make this the current app of this thread."""
        set_current_app(self)

    def set_default(self) -> None:
        """Make this the current app of all threads that have none of their own."""
        set_default_app(self)

    @property
    def current_task(self) -> Task[Any, Any] | None:
        """The task whose function runs here; None outside of any."""
        return get_current_task()

    @property
    def current_worker_task(self) -> Task[Any, Any] | None:
        """The task that a worker runs here, whatever functions of other tasks it has called directly."""
        return get_current_worker_task()

    def gen_task_name(self, name: str, module: str) -> str:
        """Return the name of a task that is given none."""
        return gen_task_name(self.main, name, module)

    def autodiscover_tasks(
        self, packages: Modules | None = None, related_name: str | None = "tasks", force: bool = False
    ) -> None:
        """Have the worker import `<package>.<related_name>` of each package that has such a module.

        `packages` may be a function, called when the time has come; without it Django's installed apps are taken, where
        there is Django.  `force` imports at once.
        """
        found: Modules = packages if packages is not None else self._packages_of_fixup
        self._discover.append((found, related_name))
        if force:
            self._import_discovered(found, related_name)

    def _packages_of_fixup(self) -> list[str]:
        return self.fixup.packages() if self.fixup is not None else []

    def import_default_modules(self) -> None:
        """Import what `include` and `autodiscover_tasks` name, as a worker does at its start. Idempotent."""
        if self.fixup is not None:
            self.fixup.set_up()
        signals.import_modules.send(self)
        for module in dict.fromkeys((*self.settings.imports, *self.include, *self.settings.include)):
            importlib.import_module(module)
        for packages, related_name in self._discover:
            self._import_discovered(packages, related_name)
        check_all_atomic(self)

    @staticmethod
    def _import_discovered(packages: Modules, related_name: str | None) -> None:
        for package in packages() if callable(packages) else packages:
            importlib.import_module(package)
            # Looked for first, so that an error inside of an existing module is not taken for its absence.
            if related_name and importlib.util.find_spec(f"{package}.{related_name}") is not None:
                importlib.import_module(f"{package}.{related_name}")

    @property
    def outbox(self) -> Outbox | None:
        """The outbox, where an integration has given one; the app's workers relay it."""
        if self._outbox is None and self.fixup is not None:
            return self.fixup.outbox()
        return self._outbox

    @outbox.setter
    def outbox(self, outbox: Outbox | None) -> None:
        self._outbox = outbox

    # -- settings -----------------------------------------------------------------------------------------------------

    @cached_property
    def settings(self) -> Settings:
        """The settings in force: a snapshot that is replaced, never changed. The first use reads what is still to be read."""
        return self.conf.settings

    def config_from_object(
        self, source: object, silent: bool = False, force: bool = False, namespace: str | None = None
    ) -> None:
        """Take settings from a mapping, an object, or a module (`"module"` or `"module:attribute"`), in place of a former one.

        A module is imported when settings are first needed, or at once with `force`; with `silent` it may be missing.  With a
        namespace the settings are those that begin with it: `CELERY_TASK_TIME_LIMIT`.  Keywords of the app and changes of
        `app.conf` stand before all of them.  Raises `ImproperlyConfigured`.
        """
        self.conf.config_from_object(source, namespace, silent, force)

    def config_from_envvar(self, variable_name: str, silent: bool = False, force: bool = False) -> bool:
        """Take settings from the module that an environment variable names; returns whether it names one.

        Raises `ImproperlyConfigured` when it names none and not `silent`.
        """
        return self.conf.config_from_envvar(variable_name, silent, force)

    def config_from_cmdline(self, argv: list[str], namespace: str = "celery") -> None:
        """Take settings written as `worker.prefetch_multiplier=1`. Raises `ImproperlyConfigured`."""
        self.conf.config_from_cmdline(argv, namespace)

    def add_defaults(self, defaults: Mapping[str, Any] | Callable[[], Mapping[str, Any]]) -> None:
        """Give defaults that every other source stands before; a function is called when settings are read."""
        self.conf.add_defaults(defaults)

    def bugreport(self) -> str:
        """Return what a report of a bug should say: versions, platform, settings without passwords."""
        return bugreport(self)

    def _settings_changed(self, before: Settings | None, after: Settings | None) -> None:
        self.__dict__.pop("settings", None)
        if after is None:
            self.close()
            return
        if before is None and self.fixup is not None:
            self.fixup.watch_settings()
        annotations = None if before is None else before.task_annotations
        if after.task_annotations and after.task_annotations != annotations:
            for task in self.tasks.values():
                annotate(task, after.task_annotations)
        if before is None:
            return
        for name in after.__struct_fields__:
            if name.startswith(("broker_", "result_", "redis_", "database_", "coordination_")) and (
                getattr(before, name) != getattr(after, name)
            ):
                self.close()
                return

    @property
    def content(self) -> Content:
        """How messages and results are written, and what is accepted; worked out once for the settings in force."""
        content = self._content
        if content is None or content.settings is not self.settings:
            content = self._content = Content(self.settings)
        return content

    def setup_security(
        self,
        allowed_serializers: Sequence[str] | None = None,
        key: str | None = None,
        key_password: str | bytes | None = None,
        cert: str | None = None,
        store: str | None = None,
        digest: str | None = None,
        serializer: str = "json",
    ) -> None:
        """Check that messages are signed and have to be, and read the keys now; for this app alone.

        What is given here stands for the settings `security_key`, `security_key_password`, `security_certificate`,
        `security_cert_store`, `security_digest` and `security_serializer`.  `allowed_serializers` is accepted for Celery's sake.
        Raises `ImproperlyConfigured`.
        """
        setup_security(self, allowed_serializers, key, key_password, cert, store, digest, serializer)

    # -- where things are ---------------------------------------------------------------------------------------------

    @property
    def locations(self) -> Locations:
        """The URLs in force of broker and result backend; with passwords, so not to be shown."""
        if self._locations is None:
            shown = self._own_broker.shown_url() if self._own_broker is not None else None
            self._locations = locate(self.settings, os.environ, Path.cwd(), shown, as_celery.default_broker)
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
        if self._own_broker is not None:
            return self._own_broker
        table = self.amqp.table
        return open_broker(self.locations.broker, self._located_settings(), self.time_source.time, table)

    def _open_backend(self) -> Backend:
        return self._own_backend or open_backend(
            self.locations.backend, self._located_settings(), self.time_source.time
        )

    def _located_settings(self) -> Settings:
        """Return the settings with the URLs in force: broker and backend look at each other's."""
        broker_url, backend_url = self.locations
        return replace(self.settings, broker_url=broker_url, result_backend=backend_url)

    @property
    def amqp(self) -> AMQP:
        """The app's queues and routes."""
        if self._amqp is None:
            own = self._own_broker
            self._amqp = AMQP(self, own.queues if own is not None else QueueTable(self.settings))
        return self._amqp

    def select_queues(self, queues: str | Iterable[str] | None = None) -> None:
        """Have a worker of this process consume only these queues. Raises `QueueNotFound`."""
        self.amqp.queues.select(queues)

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
            made = Connections(
                self._open_broker,
                self._open_backend,
                lambda: self.content.results,
                lambda: BufferLimits.of(self.settings),
            )
            here = self._by_process.setdefault(pid, made)
        return here

    @property
    def publish_buffer(self) -> PublishBuffer:
        """The calls that wait in this process for a broker that is away: `len()` of it, and its `bytes`."""
        return self._connections.buffer

    @property
    def _reader(self) -> ResultReader:
        return self._connections.reader

    @property
    def _waiter(self) -> ResultWaiter:
        return self._connections.waiter

    def close(self) -> None:
        """Send what coroutines have handed over, and close this process's connections; the next use opens new ones.

        Idempotent.  Blocks up to `publish_timeout_s`, and `publish_buffer_exit_wait_s` more where calls wait for the broker.
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

    # -- parts that most programs do not use, imported with their first use -------------------------------------------

    @cached_property
    def control(self) -> Control:
        """Remote control of the workers."""
        from celeriac.client.control import Control

        return Control(self)

    @cached_property
    def events(self) -> Events:
        """Events: receiving and sending them, and what they say of the cluster."""
        from celeriac.client.events import Events

        return Events(self)

    @cached_property
    def log(self) -> Logging:
        """The set-up of logging in workers."""
        from celeriac.client.log_setup import Logging

        return Logging(self)

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
        return self.sender.send(name, args or (), kwargs or {}, options)

    async def asend_task(
        self,
        name: str,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Unpack[CallOptions],
    ) -> result.AsyncResult[Any]:
        """As `send_task`, without blocking the event loop."""
        return await self.sender.asend(name, args or (), kwargs or {}, options)

    def send_many(self, signatures: Iterable[Signature[Any, Any, Sent]]) -> list[Sent]:
        """Send many calls, each with options of its own, in few round trips, and return their results, in order.

        Takes signatures of tasks, and of chains that begin with a task: `app.send_many([add.s(1), note.s("x").set(countdown=3)])`.  All
        else is as with `Task.delay_many`.
        """
        return self.sender.send_many(signatures)

    async def asend_many(self, signatures: Iterable[Signature[Any, Any, Sent]]) -> list[Sent]:
        """As `send_many`, without blocking the event loop."""
        return await self.sender.asend_many(signatures)

    def AsyncResult(self, id: str, task_name: str | None = None, parent: Any = None) -> result.AsyncResult[Any]:  # noqa: N802
        """Return the result of a call by its id."""
        return result.AsyncResult(id, app=self, parent=parent)

    @property
    def GroupResult(self) -> GroupResults:  # noqa: N802
        """Makes results of groups, `app.GroupResult(id, results)`, and finds saved ones, `app.GroupResult.restore(id)`."""
        return GroupResults(self)

    def ResultSet(self, results: Iterable[ResultBase[R]] = ()) -> result_set.ResultSet[R]:  # noqa: N802
        """Return a set of results, to be read together."""
        return result_set.ResultSet(results, app=self)

    def add_periodic_task(
        self,
        schedule: Any,
        sig: Signature,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        name: str | None = None,
        **opts: Any,
    ) -> str:
        """Add an entry to the schedule, and return its name.

        Args:
            schedule: seconds, a timedelta, a line of cron, or one of `celeriac.schedules`.
            sig: what is sent: a signature, or a task.
            args, kwargs: more arguments, before and beside those of the signature.
            name: `repr` of the signature if not given; another entry of this name is replaced.
            opts: options of `apply_async`, and `misfire`, `jitter`, `expires`, `enabled` and `relative` of entries.

        What is wrong with it is told when a scheduler starts.  Idempotent.
        """
        from celeriac.client.periodic import periodic_entry  # most processes schedule nothing

        key, entry = periodic_entry(schedule, sig, args, kwargs or {}, name, opts)
        self.periodic_tasks[key] = entry
        return key

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
        if isinstance(name, Mapping):
            return signature(name, args, kwargs, app=self, **options)
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
        defaults = task.defaults if task is not None else self.sender.defaults_of(name)
        own = {"parent_id": parent_id, "root_id": root_id, "chain": chain}
        return calls.build_message(self, name, args, kwargs or {}, {**(options or {}), **own}, defaults)

    def message_from_invoke(self, invoke: Invoke, index: int = 0, reply_to: str | None = None) -> Message:
        """Return the message of a follow-up; its id is derived from the parent's, so that a repeat gives the same.

        `index` is the place among the parent's follow-ups, `reply_to` the parent's reply queue.
        """
        return calls.message_from_invoke(self, invoke, index, reply_to)

    def __repr__(self) -> str:
        return f"<Celeriac {self.main or '__main__'}: {len(self.tasks)} tasks>"


Celery = Celeriac
"""Celery's name of the class."""


def _imported_class(path: str) -> type[Task[Any, Any]]:
    module, _, name = path.replace(":", ".").rpartition(".")
    found: type[Task[Any, Any]] = getattr(importlib.import_module(module), name)
    return found


def _is_async(function: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(function)
