"""A task: a function with a name, options, and the ways to call it."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from datetime import datetime
from types import MethodType
from typing import TYPE_CHECKING, Any, ClassVar, Concatenate, Generic, Never, ParamSpec, TypeVar, Unpack, overload

from celeriac import exceptions
from celeriac.client import calls, conversion_pydantic
from celeriac.client.arguments import Binder
from celeriac.client.batch_arguments import Arguments
from celeriac.client.canvas import maps
from celeriac.client.canvas.signature import Signature
from celeriac.client.context import Request, current_request
from celeriac.client.conversion import Conversion, make_conversion
from celeriac.client.current import get_current_app
from celeriac.client.options import (
    TASK_OPTIONS,
    Backoff,
    CallOptions,
    Kind,
    LimitKey,
    Scope,
    check_task_option_names,
    check_task_options,
)
from celeriac.client.redaction import check_sensitive
from celeriac.client.replacing import Replaced, make_replacement
from celeriac.client.retrying import ask_for_retry
from celeriac.client.task_handlers import TaskHandlers, check_handlers
from celeriac.client.task_limits import TaskLimits, check_limit_keys, make_limits
from celeriac.client.task_policy import make_policy
from celeriac.client.transactional_calls import TransactionalCalls
from celeriac.client.transactions import check_atomic
from celeriac.client.unique import check_names
from celeriac.client.worked_out import WorkedOut, forget
from celeriac.core.policy import Policy
from celeriac.core.rates import Rate
from celeriac.exceptions import ImproperlyConfigured, InvalidTaskError, Retry

if TYPE_CHECKING:
    from celeriac.client import eager_result, result
    from celeriac.client.app import Celeriac

    class _Unknown:
        """Fits a parameter without a type only."""


P = ParamSpec("P")
R = TypeVar("R")
Rest = ParamSpec("Rest")
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")


class Defaulted:
    """An option that a setting decides for tasks that do not say: reading it from such a task reads the setting."""

    def __init__(self, setting: str) -> None:
        self._setting = setting

    def __get__(self, task: Task[Any, Any] | None, owner: type) -> Any:
        return self if task is None else getattr(task.app.settings, self._setting)


class _AppOfTask:
    """The app of what has none of its own."""

    def __get__(self, task: Task[Any, Any] | None, owner: type) -> Any:
        try:
            return get_current_app()
        except ImproperlyConfigured as error:
            raise AttributeError(str(error)) from None


def _app_of_task() -> Any:
    return _AppOfTask()


def _by_setting(name: str) -> Any:
    """Declare an option whose default is the setting `name`."""
    return Defaulted(name)


class Task(TaskHandlers, TransactionalCalls[P, R], Generic[P, R]):
    """What `@app.task` makes of a function, and the base of tasks written as classes.

    A class of your own gives shared options as class attributes and overrides the handlers; use it as
    `@app.task(base=...)`, or give it a `run` method and hand an instance to `app.register_task`.  One instance serves all
    calls of a process: what belongs to one call stands in `self.request`.
    """

    name: str = ""
    bind: bool = False
    executor: Kind = "process"
    atomic: bool | str = False
    """True: each run is one database transaction, committed by its normal end; a text names Django's database."""

    # -- options, with Celery's names; times in seconds ----------------------------------------------------------------
    autoretry_for: Sequence[type[BaseException]] = ()
    dont_autoretry_for: Sequence[type[BaseException]] = ()
    throws: Sequence[type[BaseException]] = ()
    """Errors that are expected: logged without a traceback."""
    max_retries: int | None = _by_setting("task_max_retries")
    """None: without a limit."""
    default_retry_delay: float = _by_setting("task_default_retry_delay")
    """Before a retry that names no time, where no back-off applies."""
    retry_backoff: Backoff = _by_setting("task_retry_backoff")
    """First step of the back-off of automatic retries; True is 1, False switches it off."""
    retry_backoff_max: float = _by_setting("task_retry_backoff_max")
    retry_jitter: bool = True
    retry_kwargs: Mapping[str, Any] = {}
    """`max_retries` and `countdown` of automatic retries."""
    ignore_result: bool = _by_setting("task_ignore_result")
    store_errors_even_if_ignored: bool = _by_setting("task_store_errors_even_if_ignored")
    store_eager_result: bool = _by_setting("task_store_eager_result")
    acks_late: bool = _by_setting("task_acks_late")
    """False: the message is acknowledged as the task begins, so that a crash loses it instead of running it again."""
    acks_on_failure_or_timeout: bool = _by_setting("task_acks_on_failure_or_timeout")
    """False: the message of a task that failed, or ran into its hard limit, is parked in the dead letters."""
    acks_on_failure: bool | None = _by_setting("task_acks_on_failure")
    """None: as `acks_on_failure_or_timeout` says."""
    acks_on_timeout: bool | None = _by_setting("task_acks_on_timeout")
    """None: as `acks_on_failure_or_timeout` says."""
    reject_on_worker_lost: bool = _by_setting("task_reject_on_worker_lost")
    """True: a task that killed its executor runs again, up to `task_crash_limit` times; False: it has failed."""
    retry_on_worker_lost: bool = _by_setting("task_retry_on_worker_lost")
    """True: a task that killed its executor is retried, as `retry()` would do it."""
    time_limit: float | None = _by_setting("task_time_limit")
    soft_time_limit: float | None = _by_setting("task_soft_time_limit")
    queue: str | None = None
    """None: `task_routes` and `task_default_queue` decide."""
    exchange: str | None = None
    routing_key: str | None = None
    priority: int | None = _by_setting("task_default_priority")
    serializer: str = _by_setting("task_serializer")
    compression: str | None = _by_setting("task_compression")
    """How message bodies are compressed: "gzip", "bzip2", "lzma", "zstd", "brotli". None: not at all."""
    validate: bool = _by_setting("task_validate_arguments")
    """True: the function's type hints check and convert arguments, in the caller and in the worker."""
    pydantic: bool = False
    """True: arguments whose hint is a pydantic model are validated in the worker, as Celery does it."""
    pydantic_strict: bool = False
    pydantic_context: Mapping[str, Any] | None = None
    """Handed to the models' validators, with `celery_app` and `celery_task_name`."""
    pydantic_dump_kwargs: Mapping[str, Any] | None = None
    """Arguments of `model_dump`, for models that are sent or returned; `mode="json"` is added."""
    typing: bool = True
    """False: arguments are not compared with the signature when the task is called."""
    track_started: bool = _by_setting("task_track_started")
    trail: bool = True
    """False: the tasks that this one sends are not noted in its result's `children`."""
    send_events: bool = True
    """False: no events tell monitors of this task."""
    resultrepr_maxsize: int = 1024
    """Characters of the result that logs and events show."""
    expires: Any = None
    """Seconds, a timedelta or a datetime, after which a call is not run any more."""
    unique: Any = None
    """True, or a `Unique`: of several calls with the same key one is sent."""
    rate_limit: Rate = _by_setting("task_default_rate_limit")
    """How often it may start: "10/m", "100/h", or a number a second. None: as often as it can."""
    rate_limit_key: LimitKey | None = None
    """The rate holds for each value of a parameter (by its name), or of a function of the arguments."""
    rate_limit_scope: Scope = _by_setting("task_rate_limit_scope")
    """"cluster": the rate holds for all workers together; "worker": for each of them."""
    max_concurrency: int | None = None
    """So many run at once, on all workers together."""
    max_concurrency_key: LimitKey | None = None
    """As `rate_limit_key`, for `max_concurrency`."""
    sensitive: Sequence[str] = ()
    """Parameters whose values are shown nowhere: stars stand for them in headers, logs, errors and results."""

    MaxRetriesExceededError: ClassVar[type[exceptions.MaxRetriesExceededError]] = exceptions.MaxRetriesExceededError
    """As in Celery, to be caught without an import; so with `OperationalError`."""
    OperationalError: ClassVar[type[exceptions.OperationalError]] = exceptions.OperationalError

    app: Celeriac = _app_of_task()
    """Its app; of a class, and of a task that has not been registered: the current one."""
    run: Callable[..., Any]
    """The function itself, without `self`."""
    handles_start: bool = True
    """The class overrides `before_start`."""
    handles_success: bool = True
    """The class overrides `on_success` or `after_return`."""
    names_shadow: bool = False
    """The class or an option gives another name to show; see `shadow_name`."""
    entry: Callable[..., Any]
    """What a worker calls: `run`, or the class's own `__call__` where it has one."""
    binder: Binder

    # -- calling ------------------------------------------------------------------------------------------------------

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function here, as any function; `self.request.called_directly` is then true."""
        running = current_request.get()
        if running is not None and running.owner is self and running.in_own_call:
            # A class overrides `__call__`, was called by the worker, and now calls on: this is the run itself.
            running.in_own_call = False
            own: R = self.run(*args, **kwargs)
            return own
        request = Request(task=self.name, args=args, kwargs=kwargs, enclosing=running, owner=self)
        if self.executor == "async":
            return self._call_in_coroutine(request, args, kwargs)  # type: ignore[return-value]  # see AsyncTask
        token = current_request.set(request)
        try:
            returned: R = self.run(*args, **kwargs)
            return returned
        finally:
            current_request.reset(token)

    def delay(self, *args: P.args, **kwargs: P.kwargs) -> result.AsyncResult[R]:
        """Send a call with these arguments: `apply_async(args, kwargs)`, also where a class has one of its own."""
        return self.apply_async(args, kwargs)

    def apply_async(
        self, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Unpack[CallOptions]
    ) -> result.AsyncResult[R]:
        """Send a call and return when the broker has it.

        Args:
            countdown: seconds to wait before it may run; or `eta`, a datetime (UTC if it has no zone).
            expires: seconds, timedelta or datetime after which it is not run any more.
            queue, priority: where it waits, and its place there.
            task_id: an id of your own. Sending again with the same id after an unknown outcome is safe.
            headers: a mapping that travels with the message, found in `self.request.headers`.
            link, link_error: signatures to call when the task has succeeded or failed.
            time_limit, soft_time_limit: seconds, for this call.
            retry: False tries to publish once only; `retry_policy` shapes the attempts.
            argsrepr, kwargsrepr: what logs and monitors show for the arguments; see also the option `sensitive` of tasks.

        Raises:
            ArgumentError: the arguments do not fit the signature, or are no plain data.
            MessageTooLarge: the message is over `task_message_max_bytes`.
            BrokerUnavailable: the broker could not be reached within `publish_timeout_s`; nothing was sent.
            PublishTimeout: the deadline passed and it is not known whether the broker has the message.

        Blocks up to `publish_timeout_s`. Thread-safe. Not idempotent, unless `task_id` is given.
        """
        return self.app.sender.call(self, args or (), kwargs or {}, options)

    async def adelay(self, *args: P.args, **kwargs: P.kwargs) -> result.AsyncResult[R]:
        """As `delay`, without blocking the event loop; concurrent callers share round trips to the broker."""
        return await self.aapply_async(args, kwargs)

    async def aapply_async(
        self, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Unpack[CallOptions]
    ) -> result.AsyncResult[R]:
        """As `apply_async`, without blocking the event loop; concurrent callers share round trips to the broker."""
        return await self.app.sender.acall(self, args or (), kwargs or {}, options)

    def delay_many(self, calls: Iterable[Arguments]) -> list[result.AsyncResult[R]]:
        """Send many calls in few round trips and return their results, in order.

        Args:
            calls: for each call a tuple (or list) of arguments, or a dict of those with names; any iterable, which is read as the
                calls are sent.  Calls with options of their own go through `app.send_many`.

        `publish_batch_max` calls, or `publish_batch_max_bytes`, go in one round trip.  A batch is sent when each call in it has been
        checked; on Redis and SQLite it arrives whole or not at all.

        Raises:
            PartlySent: sending ended after some calls had been accepted, or may have been; it has their results, and the rest.
            Exception: before that, what `delay` raises, or what the iterable does; nothing was sent.

        Blocks up to `publish_timeout_s` for each batch. Thread-safe. Not idempotent.
        """
        return self.app.sender.call_many(self, calls)

    async def adelay_many(self, calls: Iterable[Arguments]) -> list[result.AsyncResult[R]]:
        """As `delay_many`, without blocking the event loop."""
        return await self.app.sender.acall_many(self, calls)

    def apply(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        *,
        throw: bool | None = None,
        **options: Unpack[CallOptions],
    ) -> eager_result.EagerResult[R]:
        """Run the task here and now, retries included and without waiting for them, and return its result.

        `throw` raises what the task raises; by default `task_eager_propagates` decides.  No broker is needed.
        """
        from celeriac.client.eager import apply_eagerly  # execution, below it, imports this module

        return apply_eagerly(self, args or (), kwargs or {}, options, throw=throw)

    # A call that leaves the first parameter open takes the value of the step before it; one that is complete takes none.  With more left
    # open, or with names only, whoever makes the call gives the rest.
    @overload
    def s(  # type: ignore[misc]  # what the function is called with decides
        self: Callable[Concatenate[_Unknown, Rest], Any], *args: Rest.args, **kwargs: Rest.kwargs
    ) -> Signature[Any, R, result.AsyncResult[R]]: ...
    @overload
    def s(
        self: Callable[Concatenate[A, Rest], Any], *args: Rest.args, **kwargs: Rest.kwargs
    ) -> Signature[A, R, result.AsyncResult[R]]: ...
    @overload
    def s(self, *args: P.args, **kwargs: P.kwargs) -> Signature[Never, R, result.AsyncResult[R]]: ...
    @overload
    def s(
        self: Callable[Concatenate[A, B, Rest], Any], *args: Rest.args, **kwargs: Rest.kwargs
    ) -> Signature[Any, R, result.AsyncResult[R]]: ...
    @overload
    def s(
        self: Callable[Concatenate[A, B, C, Rest], Any], *args: Rest.args, **kwargs: Rest.kwargs
    ) -> Signature[Any, R, result.AsyncResult[R]]: ...
    @overload
    def s(
        self: Callable[Concatenate[A, B, C, D, Rest], Any], *args: Rest.args, **kwargs: Rest.kwargs
    ) -> Signature[Any, R, result.AsyncResult[R]]: ...
    @overload
    def s(self, **kwargs: Any) -> Signature[Any, R, result.AsyncResult[R]]: ...
    def s(self, *args: Any, **kwargs: Any) -> Signature[Any, Any, Any]:
        """Return the signature of a call with these arguments, for links and workflows."""
        if self.conversion is not None:
            return self.signature(args, kwargs)
        return Signature(self.name, args, kwargs, app=self.app)

    def si(self, *args: P.args, **kwargs: P.kwargs) -> Signature[object, R, result.AsyncResult[R]]:
        """Return an immutable signature: the result of the task before is not put before its arguments."""
        return self.signature(args, kwargs, immutable=True)

    def signature(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        *,
        immutable: bool = False,
        **options: Any,
    ) -> Signature[Any, R, result.AsyncResult[R]]:
        """Return the signature of a call with arguments and options."""
        if self.conversion is not None:
            args, kwargs = self.conversion.dump_loosely(args or (), kwargs or {})
        return Signature(self.name, args, kwargs, options, immutable=immutable, app=self.app)

    subtask = signature

    def map(self, it: Iterable[Any]) -> maps.xmap:
        """Return the signature of one task that calls this one with each item, and returns the list of the values."""
        return maps.xmap(self.s(), [self._plain_arguments((item,))[0] for item in it], app=self.app)

    def starmap(self, it: Iterable[Sequence[Any]]) -> maps.xstarmap:
        """As `map`, for items that are lists of arguments."""
        return maps.xstarmap(self.s(), [self._plain_arguments(args) for args in it], app=self.app)

    def chunks(self, it: Iterable[Sequence[Any]], n: int) -> maps.chunks:
        """As `starmap`, by a group of tasks that make `n` of the calls each; sent, it gives a `GroupResult`."""
        return maps.chunks(self.s(), [self._plain_arguments(args) for args in it], n, app=self.app)

    def _plain_arguments(self, args: Sequence[Any]) -> Sequence[Any]:
        return args if self.conversion is None else self.conversion.dump_loosely(args, {})[0]

    def AsyncResult(self, task_id: str) -> result.AsyncResult[R]:  # noqa: N802 - Celery's name
        """Return the result of a call of this task by its id."""
        return self.app.AsyncResult(task_id)

    # -- for the running task -----------------------------------------------------------------------------------------

    @property
    def request(self) -> Request:
        """What is known of the call that runs here; outside of one, an empty request with `called_directly`."""
        request = current_request.get()
        if request is None or (request.owner is not self and request.task != self.name):
            return Request(task=self.name)
        return request

    def push_request(self, **fields: Any) -> None:
        """Make up a request with these fields, for a test that calls the function directly; undone by `pop_request`."""
        fields = {"task": self.name, "called_directly": False, "owner": self, **fields}
        current_request.set(Request(**fields, enclosing=current_request.get()))

    def pop_request(self) -> None:
        """Undo the last `push_request`."""
        request = current_request.get()
        current_request.set(request.enclosing if request is not None else None)

    def retry(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        exc: BaseException | None = None,
        throw: bool = True,
        eta: datetime | None = None,
        countdown: float | None = None,
        max_retries: int | None = None,
        **options: Any,
    ) -> Retry:
        """Have the task run again, later; it ends here, because this raises `Retry` (write `raise self.retry(...)`).

        Args:
            args, kwargs: other arguments for the next run.
            exc: the error that is behind it; it is raised when there are no retries left.
            eta, countdown: a datetime, or seconds; else `default_retry_delay`.
            max_retries: limit of this very call.
            throw: False sends the retry at once and lets the task go on.
            options: any option of `apply_async` for the next run, such as `queue`, `priority` or `time_limit`.

        Raises:
            MaxRetriesExceededError: no retries are left (`exc` instead, if it was given).
        """
        asked = ask_for_retry(self, args, kwargs, exc, eta, countdown, max_retries, options)
        if throw:
            raise asked
        self.app.sender.retry(self, self.request, asked)
        return asked

    def replace(self, sig: Mapping[str, Any]) -> Any:
        """Have another task give this one's result, under the same id; the running one ends here (write `return self.replace(...)`).

        Whatever waits for this task (callbacks, errbacks, the rest of its chain) waits for the other one from now on.
        In eager mode the other one runs at once and its result is returned.  Raises `ImproperlyConfigured` for a member of a chord.
        """
        request = self.request
        if request.is_eager or request.called_directly:
            return Signature.from_dict(make_replacement(request, sig, here=True), app=self.app).apply().get()
        raise Replaced(make_replacement(request, sig))

    def add_to_chord(self, sig: Signature, lazy: bool = False) -> Any:
        """Add a task or a workflow to the header of the chord that the running task is a member of; returns its result.

        Its value comes after those of the members that the chord began with.  `lazy`: only have the chord wait for it; it is to be sent by
        its own `apply_async`.

        Raises `ValueError` when the running task is a member of none; as `apply_async` otherwise.
        """
        from celeriac.client.adding import add_to_chord

        if not (self.request.chord and self.request.group):
            raise ValueError(f"task {self.name!r}: the running task is not a member of any chord")
        return add_to_chord(self.app, self.request, sig, lazy=lazy)

    def signature_from_request(
        self,
        request: Request | None = None,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        queue: str | None = None,
        **options: Any,
    ) -> Signature:
        """Return the signature of a call like the running one, with the same id; what is given here stands over it."""
        request = self.request if request is None else request
        options = request.as_execution_options() | ({"queue": queue} if queue else {}) | options
        given_args = request.args if args is None else args
        return self.signature(given_args, request.kwargs if kwargs is None else kwargs, **options)

    subtask_from_request = signature_from_request

    def update_state(self, task_id: str | None = None, state: str | None = None, meta: Any = None) -> None:
        """Store a state of your own with plain data, for `AsyncResult.state` and `.info`.

        `task_id` names another task than the running one.  Needs a result backend, and does nothing in eager mode.
        """
        request = self.request
        if state is None:
            raise TypeError("update_state() needs a state, such as state='PROGRESS'")
        if task_id is not None and task_id != request.id:
            self.app.sender.store_state(task_id, state, meta)
        elif request.report is not None:
            request.report(state, meta)
        elif request.called_directly:
            raise RuntimeError(f"task {self.name!r} was called directly: there is no state to update; give a task_id")

    @classmethod
    def _get_app(cls) -> Celeriac:
        """Return the app; base classes written for Celery call it so."""
        return cls.app

    # -- for the app, the worker and eager mode -----------------------------------------------------------------------

    def check_arguments(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Raise `ArgumentError` when the function can't be called so; nothing with `typing=False`."""
        if self.typing and self.app.strict_typing:
            self.binder.check(args, kwargs)

    def is_explicit(self, option: str) -> bool:
        """Tell whether the task itself, or its class, gives this option."""
        return option in self.__dict__ or self._is_given(option)

    @WorkedOut
    def policy(self) -> Policy:
        """What `decide` has to know."""
        return make_policy(self, self.app.settings)

    @WorkedOut
    def limits(self) -> TaskLimits | None:
        """What the worker has to heed before it lets a call run, None if nothing."""
        return make_limits(self)

    @WorkedOut
    def conversion(self) -> Conversion | None:
        """What makes plain data of arguments and back, None for most tasks."""
        return make_conversion(self, self.app.settings)

    @WorkedOut
    def defaults(self) -> calls.Defaults:
        """What a call starts from."""
        return calls.defaults_of_task(self, self.app)

    def define(
        self, app: Celeriac, name: str, options: Mapping[str, Any], function: Callable[..., Any] | None, bind: bool
    ) -> None:
        """Give the task its app, name, options and function; called once, by the app."""
        known = type(self)
        check_handlers(known)
        check_task_option_names(name, options, lambda option: hasattr(known, option))
        inherited = {option: getattr(self, option) for option in TASK_OPTIONS if self._is_given(option)}
        checked = check_task_options(name, {**inherited, **options})
        if function is not None:
            self.bind = bind
            self.run = MethodType(function, self) if bind else function
            self.__name__ = function.__name__
            self.__qualname__ = function.__qualname__
            self.__module__ = function.__module__
            self.__doc__ = function.__doc__
            self.__wrapped__ = function
        elif not callable(getattr(self, "run", None)):
            raise InvalidTaskError(f"task class {known.__qualname__} has no run() method")
        if checked.get("pydantic"):
            self.run = conversion_pydantic.wrap(self.run, app, name, checked)
        self.enter_anew()
        self.handles_start = known.before_start is not TaskHandlers.before_start
        handlers = (known.on_success, known.after_return)
        self.handles_success = handlers != (TaskHandlers.on_success, TaskHandlers.after_return)
        self._choose_executor(name, checked, options)
        checked.pop("shadow_name", None)
        if (shadow_name := options.get("shadow_name")) is not None:
            self.shadow_name = MethodType(shadow_name, self)  # type: ignore[method-assign]  # the option is the method
        self.names_shadow = "shadow_name" in self.__dict__ or known.shadow_name is not TaskHandlers.shadow_name
        for option, value in checked.items():
            setattr(self, option, value)
        self.app = app
        self.name = name
        try:
            self.binder = Binder(name, self.run)
        except (TypeError, ValueError) as error:
            raise InvalidTaskError(f"task {name!r}: the signature of {self.run!r} can't be read: {error}") from None
        check_names(name, self.unique, self.binder)
        check_limit_keys(self)
        check_sensitive(self)
        if bind and function is not None and len(inspect.signature(function).parameters) == 0:
            raise InvalidTaskError(f"task {name!r}: with bind=True the function's first parameter is the task itself")
        check_atomic(self)
        # What a setting decides is looked at when settings have been read; defining a task must not read them.
        may_look = app.conf.configured or self.is_explicit("validate")
        if self.pydantic or (may_look and self.validate):
            _ = self.conversion  # hints that can't be converted are told now

    def enter_anew(self) -> None:
        """Have a worker call what `run` is now, or the class's own `__call__`."""
        self.entry = self._enter_own_call if type(self).__call__ is not Task.__call__ else self.run

    def _is_given(self, option: str) -> bool:
        for known in type(self).__mro__:
            if known is Task:
                return False
            if option in vars(known):
                return True
        return False

    def _choose_executor(self, name: str, checked: dict[str, Any], options: Mapping[str, Any]) -> None:
        is_async = inspect.iscoroutinefunction(self.run)
        chosen = checked.get("executor")
        if is_async and chosen not in (None, "async"):
            raise ImproperlyConfigured(
                f"task {name!r} is an `async def` and runs in the async executor, not {chosen!r}"
            )
        if not is_async and chosen == "async":
            raise ImproperlyConfigured(f"task {name!r}: executor='async' needs an `async def`")
        if is_async:
            checked["executor"] = "async"

    def _enter_own_call(self, *args: Any, **kwargs: Any) -> Any:
        request = current_request.get()
        if request is not None:
            request.in_own_call = True
        return self(*args, **kwargs)

    async def _call_in_coroutine(self, request: Request, args: Any, kwargs: Any) -> Any:
        token = current_request.set(request)
        try:
            return await self.run(*args, **kwargs)
        finally:
            current_request.reset(token)

    def __setattr__(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)
        if name in TASK_OPTIONS:  # what was worked out from the options holds no longer
            forget(self)

    @property
    def __signature__(self) -> inspect.Signature:
        return self.binder.signature

    def __repr__(self) -> str:
        return f"<task {self.name}>"

    def __reduce__(self) -> str | tuple[Any, ...]:
        """Pickle as the module variable that holds the task, or else by name, so that the other side gets its own task."""
        module = sys.modules.get(self.__module__)
        variables = vars(module) if module is not None else {}
        own_name = getattr(self, "__name__", "")
        if variables.get(own_name) is self:
            return own_name
        for name, value in variables.items():
            if value is self:
                return name
        return _task_of_current_app, (self.name, self.__module__)


def _task_of_current_app(name: str, module: str) -> Task[Any, Any]:
    """Find a pickled task again; the module that defines it has been imported by whoever reads the pickle, or is now."""
    tasks = get_current_app().tasks
    if name not in tasks:
        importlib.import_module(module)
    found: Task[Any, Any] = tasks[name]
    return found


class AsyncTask(Task[P, R]):
    """A task made from an `async def`: calling it directly gives the coroutine."""

    if TYPE_CHECKING:

        def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]: ...  # type: ignore[override]
