"""A task: a function with a name, options, and the ways to call it."""

from __future__ import annotations

import inspect
import pickle
import sys
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import UTC, datetime
from types import MethodType
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, ParamSpec, TypeVar, Unpack

from celeriac import exceptions
from celeriac.client import calls
from celeriac.client.arguments import Binder
from celeriac.client.context import Request, current_request
from celeriac.client.options import (
    TASK_OPTIONS,
    Backoff,
    CallOptions,
    Kind,
    check_task_option_names,
    check_task_options,
)
from celeriac.client.signature import Signature
from celeriac.client.task_policy import make_policy
from celeriac.core.policy import Policy
from celeriac.core.retry import may_retry
from celeriac.exceptions import ImproperlyConfigured, InvalidTaskError, Retry

if TYPE_CHECKING:
    from celeriac.client import result
    from celeriac.client.app import Celeriac

PRIORITY_MAX: Final = 255

P = ParamSpec("P")
R = TypeVar("R")


class Defaulted:
    """An option that a setting decides for tasks that do not say: reading it from such a task reads the setting."""

    def __init__(self, setting: str) -> None:
        self._setting = setting

    def __get__(self, task: Task[Any, Any] | None, owner: type) -> Any:
        return self if task is None else getattr(task.app.settings, self._setting)


def _by_setting(name: str) -> Any:
    """Declare an option whose default is the setting `name`."""
    return Defaulted(name)


class Task(Generic[P, R]):
    """What `@app.task` makes of a function, and the base of tasks written as classes.

    A class of your own gives shared options as class attributes and overrides the handlers; use it as
    `@app.task(base=...)`, or give it a `run` method and hand an instance to `app.register_task`.  One instance serves all
    calls of a process: what belongs to one call stands in `self.request`.
    """

    name: str = ""
    bind: bool = False
    executor: Kind = "process"

    # -- options, with Celery's names; times in seconds ----------------------------------------------------------------
    autoretry_for: Sequence[type[BaseException]] = ()
    dont_autoretry_for: Sequence[type[BaseException]] = ()
    throws: Sequence[type[BaseException]] = ()
    """Errors that are expected: logged without a traceback."""
    max_retries: int | None = _by_setting("task_max_retries")
    """None: without a limit."""
    default_retry_delay: float = 180.0
    """Before a retry that names no time, where no back-off applies."""
    retry_backoff: Backoff = _by_setting("task_retry_backoff")
    """First step of the back-off of automatic retries; True is 1, False switches it off."""
    retry_backoff_max: float = _by_setting("task_retry_backoff_max")
    retry_jitter: bool = True
    retry_kwargs: Mapping[str, Any] = {}
    """`max_retries` and `countdown` of automatic retries."""
    ignore_result: bool = _by_setting("task_ignore_result")
    store_errors_even_if_ignored: bool = _by_setting("task_store_errors_even_if_ignored")
    time_limit: float | None = _by_setting("task_time_limit")
    soft_time_limit: float | None = _by_setting("task_soft_time_limit")
    queue: str | None = None
    """None: `task_routes` and `task_default_queue` decide."""
    priority: int | None = _by_setting("task_default_priority")
    serializer: str = _by_setting("task_serializer")
    typing: bool = True
    """False: arguments are not compared with the signature when the task is called."""
    track_started: bool = _by_setting("task_track_started")
    expires: Any = None
    """Seconds, a timedelta or a datetime, after which a call is not run any more."""

    MaxRetriesExceededError: ClassVar[type[exceptions.MaxRetriesExceededError]] = exceptions.MaxRetriesExceededError
    """As in Celery, to be caught without an import."""

    app: Celeriac
    run: Callable[..., Any]
    """The function itself, without `self`."""
    binder: Binder

    # -- calling ------------------------------------------------------------------------------------------------------

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function here, as any function; `self.request.called_directly` is then true."""
        request = Request(task=self.name, args=args, kwargs=kwargs, enclosing=current_request.get())
        if self.executor == "async":
            return self._call_in_coroutine(request, args, kwargs)  # type: ignore[return-value]  # see AsyncTask
        token = current_request.set(request)
        try:
            returned: R = self.run(*args, **kwargs)
            return returned
        finally:
            current_request.reset(token)

    def delay(self, *args: P.args, **kwargs: P.kwargs) -> result.AsyncResult[R]:
        """Send a call with these arguments; everything else as `apply_async`."""
        return self.app._send_task_call(self, args, kwargs, {})

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

        Raises:
            ArgumentError: the arguments do not fit the signature, or are no plain data.
            MessageTooLarge: the message is over `task_message_max_bytes`.
            BrokerUnavailable: the broker could not be reached within `publish_timeout_s`; nothing was sent.
            PublishTimeout: the deadline passed and it is not known whether the broker has the message.

        Blocks up to `publish_timeout_s`. Thread-safe. Not idempotent, unless `task_id` is given.
        """
        return self.app._send_task_call(self, args or (), kwargs or {}, options)

    async def adelay(self, *args: P.args, **kwargs: P.kwargs) -> result.AsyncResult[R]:
        """As `delay`, without blocking the event loop; concurrent callers share round trips to the broker."""
        return await self.app._asend_task_call(self, args, kwargs, {})

    async def aapply_async(
        self, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Unpack[CallOptions]
    ) -> result.AsyncResult[R]:
        """As `apply_async`, without blocking the event loop; concurrent callers share round trips to the broker."""
        return await self.app._asend_task_call(self, args or (), kwargs or {}, options)

    def apply(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        *,
        throw: bool | None = None,
        **options: Unpack[CallOptions],
    ) -> result.EagerResult[R]:
        """Run the task here and now, retries included and without waiting for them, and return its result.

        `throw` raises what the task raises; by default `task_eager_propagates` decides.  No broker is needed.
        """
        from celeriac.client.eager import apply_eagerly  # execution, below it, imports this module

        return apply_eagerly(self, args or (), kwargs or {}, options, throw=throw)

    def s(self, *args: Any, **kwargs: Any) -> Signature:
        """Return the signature of a call with these arguments, for `link=` and `link_error=`."""
        return Signature(self.name, args, kwargs, app=self.app)

    def si(self, *args: Any, **kwargs: Any) -> Signature:
        """Return an immutable signature: the result of the task before is not put before its arguments."""
        return Signature(self.name, args, kwargs, immutable=True, app=self.app)

    def signature(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        *,
        immutable: bool = False,
        **options: Any,
    ) -> Signature:
        """Return the signature of a call with arguments and options."""
        return Signature(self.name, args, kwargs, options, immutable=immutable, app=self.app)

    def AsyncResult(self, task_id: str) -> result.AsyncResult[R]:  # noqa: N802 - Celery's name
        """Return the result of a call of this task by its id."""
        return self.app.AsyncResult(task_id)

    # -- for the running task -----------------------------------------------------------------------------------------

    @property
    def request(self) -> Request:
        """What is known of the call that runs here; outside of one, an empty request with `called_directly`."""
        request = current_request.get()
        if request is None or request.task != self.name:
            return Request(task=self.name)
        return request

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
            options: `queue` and `priority` of the next run.

        Raises:
            MaxRetriesExceededError: no retries are left (`exc` instead, if it was given).
        """
        request = self.request
        if request.called_directly:
            # There is nobody to run it again.
            raise exc or sys.exc_info()[1] or Retry(f"{self.name} was called directly and can't be retried")
        limit = self.policy.max_retries if max_retries is None else max_retries
        if not may_retry(limit, request.retries):
            if exc is not None:
                raise exc
            raise exceptions.MaxRetriesExceededError(
                f"{self.name}[{request.id}] used its {limit} retries",
                task_args=request.args,
                task_kwargs=request.kwargs,
            )
        for name in options:
            if name not in ("queue", "priority"):
                raise TypeError(f"task {self.name!r}: retry() takes the options queue and priority, not {name!r}")
        queue, priority = options.get("queue"), options.get("priority")
        if not isinstance(queue, str | None):
            raise TypeError(f"task {self.name!r}: retry(queue={queue!r}): the name of a queue is wanted")
        if not isinstance(priority, int | None) or not 0 <= (priority or 0) <= PRIORITY_MAX:
            raise TypeError(
                f"task {self.name!r}: retry(priority={priority!r}): a number from 0 to {PRIORITY_MAX} is wanted"
            )
        when_s = None
        if eta is not None:
            when_s = (eta if eta.tzinfo else eta.replace(tzinfo=UTC)).timestamp()
        elif countdown is not None:
            when_s = time.time() + countdown
        asked = Retry(exc=exc, when=eta if eta is not None else countdown)
        asked.when_s = when_s
        asked.args_override = None if args is None else tuple(args)
        asked.kwargs_override = None if kwargs is None else dict(kwargs)
        asked.max_retries = max_retries
        asked.options = dict(options)
        if throw:
            raise asked
        self.app._send_retry(self, request, asked)
        return asked

    def update_state(self, task_id: str | None = None, state: str | None = None, meta: Any = None) -> None:
        """Store a state of your own with plain data, for `AsyncResult.state` and `.info`.

        `task_id` names another task than the running one.  Needs a result backend, and does nothing in eager mode.
        """
        request = self.request
        if state is None:
            raise TypeError("update_state() needs a state, such as state='PROGRESS'")
        if task_id is not None and task_id != request.id:
            self.app._store_state(task_id, state, meta)
        elif request.report is not None:
            request.report(state, meta)
        elif request.called_directly:
            raise RuntimeError(f"task {self.name!r} was called directly: there is no state to update; give a task_id")

    # -- handlers, to be overridden -----------------------------------------------------------------------------------

    def before_start(self, task_id: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Called before the task runs; what it raises fails the task."""

    def on_success(self, retval: Any, task_id: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Called when the task has returned."""

    def on_failure(
        self, exc: BaseException, task_id: str, args: Sequence[Any], kwargs: Mapping[str, Any], einfo: Any
    ) -> None:
        """Called when the task has failed; `einfo` is the traceback as text."""

    def on_retry(
        self, exc: BaseException, task_id: str, args: Sequence[Any], kwargs: Mapping[str, Any], einfo: Any
    ) -> None:
        """Called when the task is to be retried; `einfo` is the traceback as text."""

    def after_return(
        self, status: str, retval: Any, task_id: str, args: Sequence[Any], kwargs: Mapping[str, Any], einfo: Any
    ) -> None:
        """Called after each run, with its state and its value or exception."""

    # -- for the app, the worker and eager mode -----------------------------------------------------------------------

    def check_arguments(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Raise `ArgumentError` when the function can't be called so; nothing with `typing=False`."""
        if self.typing:
            self.binder.check(args, kwargs)

    def is_explicit(self, option: str) -> bool:
        """Tell whether the task itself, or its class, gives this option."""
        return option in self.__dict__ or self._is_given(option)

    @property
    def policy(self) -> Policy:
        """What `decide` has to know; worked out once for the app's current settings."""
        settings = self.app.settings
        cached = self.__dict__.get("_policy")
        if cached is None or cached[0] is not settings:
            cached = self.__dict__["_policy"] = (settings, make_policy(self, settings))
        policy: Policy = cached[1]
        return policy

    @property
    def defaults(self) -> calls.Defaults:
        """What a call starts from; worked out once for the app's current settings."""
        settings = self.app.settings
        cached = self.__dict__.get("_defaults")
        if cached is None or cached[0] is not settings:
            cached = self.__dict__["_defaults"] = (settings, calls.defaults_of_task(self, settings))
        defaults: calls.Defaults = cached[1]
        return defaults

    def define(
        self, app: Celeriac, name: str, options: Mapping[str, Any], function: Callable[..., Any] | None, bind: bool
    ) -> None:
        """Give the task its app, name, options and function; called once, by the app."""
        known = type(self)
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
        self._choose_executor(name, checked, options)
        for option, value in checked.items():
            setattr(self, option, value)
        self.app = app
        self.name = name
        try:
            self.binder = Binder(name, self.run)
        except (TypeError, ValueError) as error:
            raise InvalidTaskError(f"task {name!r}: the signature of {self.run!r} can't be read: {error}") from None
        if bind and len(inspect.signature(self.run.__func__).parameters) == 0:  # type: ignore[attr-defined]
            raise InvalidTaskError(f"task {name!r}: with bind=True the function's first parameter is the task itself")

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

    async def _call_in_coroutine(self, request: Request, args: Any, kwargs: Any) -> Any:
        token = current_request.set(request)
        try:
            return await self.run(*args, **kwargs)
        finally:
            current_request.reset(token)

    def __setattr__(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)
        if name in TASK_OPTIONS:  # what was worked out from the options holds no longer
            self.__dict__.pop("_policy", None)
            self.__dict__.pop("_defaults", None)

    @property
    def __signature__(self) -> inspect.Signature:
        return self.binder.signature

    def __repr__(self) -> str:
        return f"<task {self.name}>"

    def __reduce__(self) -> str:
        """Pickle as the module variable that holds the task, so that the other side gets its own task."""
        module = sys.modules.get(self.__module__)
        variables = vars(module) if module is not None else {}
        own_name = getattr(self, "__name__", "")
        if variables.get(own_name) is self:
            return own_name
        for name, value in variables.items():
            if value is self:
                return name
        raise pickle.PicklingError(
            f"task {self.name!r} is no variable of module {self.__module__!r} and can't be pickled; pass its name"
        )


class AsyncTask(Task[P, R]):
    """A task made from an `async def`: calling it directly gives the coroutine."""

    if TYPE_CHECKING:

        def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]: ...  # type: ignore[override]
