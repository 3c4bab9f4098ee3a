"""The ways to call a task that wait for a database transaction: after its commit, or through the outbox."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, Unpack

from celeriac.client import unique
from celeriac.client.announcing import announce_publishing
from celeriac.client.batch_arguments import Arguments, arguments_of
from celeriac.client.calls import build_message
from celeriac.client.options import CallOptions
from celeriac.client.result import AsyncResult
from celeriac.client.transactions import required_transactions
from celeriac.core.headers import to_timestamp
from celeriac.core.unique import UNIQUE, Take
from celeriac.exceptions import BadMessage, DuplicateTask, ImproperlyConfigured

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac
    from celeriac.client.task import Task
    from celeriac.core.message import Message

logger = logging.getLogger("celeriac.client")

P = ParamSpec("P")
R = TypeVar("R")


class TransactionalCalls(Generic[P, R]):
    """The ways to call a task that wait for a transaction; part of every task."""

    def delay_on_commit(self, *args: P.args, **kwargs: P.kwargs) -> AsyncResult[R]:
        """Send a call with these arguments once the current transaction is committed; else as `apply_async_on_commit`."""
        return send_on_commit(_task(self), args, kwargs, {}, None)

    def apply_async_on_commit(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        *,
        using: Any = None,
        **options: Unpack[CallOptions],
    ) -> AsyncResult[R]:
        """Send a call once the current transaction is committed; without one at once, after a rollback never.

        The result's id is known at once.  Arguments are checked and the message is made now, so that only the broker can
        fail later: what it raises then comes out of the commit, which has happened.  A call that must not get lost even
        then goes through the outbox.

        Args:
            using: the database whose transaction is meant; None takes the default.
            options: as of `apply_async`.

        Raises:
            ImproperlyConfigured: the app has no database integration.
            ArgumentError, MessageTooLarge: as of `apply_async`.
        """
        return send_on_commit(_task(self), args or (), kwargs or {}, options, using)

    def delay_many_on_commit(self, calls: Iterable[Arguments], *, using: Any = None) -> list[AsyncResult[R]]:
        """Send many calls, as `Task.delay_many`, once the current transaction is committed; else as `apply_async_on_commit`.

        Their messages are made now and wait in memory for the commit.
        """
        return send_many_on_commit(_task(self), calls, using)

    def delay_via_outbox(self, *args: P.args, **kwargs: P.kwargs) -> AsyncResult[R]:
        """Write a call with these arguments into the current transaction; else as `apply_async_via_outbox`."""
        return send_via_outbox(_task(self), args, kwargs, {}, None)

    def apply_async_via_outbox(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        *,
        using: Any = None,
        **options: Unpack[CallOptions],
    ) -> AsyncResult[R]:
        """Write a call as a row into the current transaction; a relay publishes it once that is committed.

        No broker is asked here.  The message is published at least once if the transaction commits, and not at all if it is
        rolled back.  The result's id is known at once.

        Args:
            using: the database or session whose transaction is meant; None takes the default.
            options: as of `apply_async`.

        Raises:
            ImproperlyConfigured: the app has no outbox.
            ArgumentError, MessageTooLarge: as of `apply_async`.
        """
        return send_via_outbox(_task(self), args or (), kwargs or {}, options, using)


def _task(calls: TransactionalCalls[P, R]) -> Task[P, R]:
    return calls  # type: ignore[return-value]  # nothing but Task is one


def send_on_commit(
    task: Task[Any, R], args: Sequence[Any], kwargs: Mapping[str, Any], options: Mapping[str, Any], using: Any
) -> AsyncResult[R]:
    """See `TransactionalCalls.apply_async_on_commit`."""
    app = task.app
    transactions = required_transactions(task, "delay_on_commit() and apply_async_on_commit()")
    message = _message(task, args, kwargs, options)
    if app.settings.task_always_eager:
        transactions.on_commit(_eagerly(task, args, kwargs, options, message), using)
    else:
        transactions.on_commit(lambda: _send(app, message, options), using)
    return AsyncResult(message.id, app=app, ignored=bool(message.headers["ignore_result"]))


def send_many_on_commit(task: Task[Any, R], given: Iterable[Arguments], using: Any) -> list[AsyncResult[R]]:
    """See `TransactionalCalls.delay_many_on_commit`."""
    app = task.app
    transactions = required_transactions(task, "delay_many_on_commit()")
    calls = [arguments_of(task, one) for one in given]
    messages = [_message(task, args, kwargs, {}) for args, kwargs in calls]
    if app.settings.task_always_eager:
        for (args, kwargs), message in zip(calls, messages, strict=True):
            transactions.on_commit(_eagerly(task, args, kwargs, {}, message), using)
    elif messages:
        transactions.on_commit(lambda: _send_all(app, messages), using)
    return [AsyncResult(message.id, app=app, ignored=bool(message.headers["ignore_result"])) for message in messages]


def send_via_outbox(
    task: Task[Any, R], args: Sequence[Any], kwargs: Mapping[str, Any], options: Mapping[str, Any], using: Any
) -> AsyncResult[R]:
    """See `TransactionalCalls.apply_async_via_outbox`."""
    app = task.app
    outbox = app.outbox
    if outbox is None:
        raise ImproperlyConfigured(
            f"task {task.name!r}: the app has no outbox; with Django put 'celeriac.contrib.django' into INSTALLED_APPS and"
            " migrate, with SQLAlchemy set app.outbox, see the guide's page on the outbox"
        )
    message = _message(task, args, kwargs, options)
    if app.settings.task_always_eager:
        # There is no relay then: the nearest to what it would do is to run the task after the commit.
        run = _eagerly(task, args, kwargs, options, message)
        if app.transactions is not None:
            app.transactions.on_commit(run, using)
        else:
            run()
    else:
        if not is_unique(message):
            announce_publishing(app, message)  # here, where listeners find the call's context; the relay tells the rest
        outbox.add(message, using)
        return app.sender.result_of(message, options)
    return AsyncResult(message.id, app=app, ignored=bool(message.headers["ignore_result"]))


def _message(
    task: Task[Any, Any], args: Sequence[Any], kwargs: Mapping[str, Any], options: Mapping[str, Any]
) -> Message:
    task.check_arguments(args, kwargs)
    message = build_message(task.app, task.name, args, kwargs, options, task.defaults)
    if task.unique or "unique" in options:
        unique.plan(task.app, task, message, args, kwargs, options)
    return message


def _send(app: Celeriac, message: Message, options: Mapping[str, Any]) -> None:
    without_passed_time(message, app.time_source.time())
    if is_unique(message):
        send_unique(app, message, options)
    else:
        app.sender.publish(message, options)
        app.sender.result_of(message, options)  # only now: a call that was rolled back is nobody's child


def _send_all(app: Celeriac, messages: Sequence[Message]) -> None:
    if is_unique(messages[0]):  # all of one task: a duplicate among them is dropped and holds up no other
        for message in messages:
            _send(app, message, {})
        return
    now = app.time_source.time()
    app.sender.publish_all([without_passed_time(message, now) for message in messages], {})
    for message in messages:
        app.sender.result_of(message, {})


def is_unique(message: Message) -> bool:
    """Tell whether a message has to take a key before it may be sent."""
    return UNIQUE in message.headers


def send_unique(app: Celeriac, message: Message, options: Mapping[str, Any]) -> None:
    """Send a message of a unique task, unless another call holds its key by now: then it is dropped, and that is logged.

    Errors are those of `Task.apply_async`.  Sending again under the same id is safe.
    """
    mark = unique.read_mark(message.headers)
    if mark is None:
        raise BadMessage(f"header {UNIQUE!r} can't be read")
    hold_s = mark.window_s if mark.until == "window" else mark.expires_s
    take = Take(mark.key, message.id, hold_s, mark.window_s, mark.on_conflict)
    try:
        result = unique.send(app, message, take, options)
    except DuplicateTask as error:
        logger.warning("%s", error)
        return
    if result.was_duplicate:
        logger.info("task %s[%s] was not sent: %s has the same key", message.task, message.id, result.id)


def _eagerly(
    task: Task[Any, Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    options: Mapping[str, Any],
    message: Message,
) -> Callable[[], object]:
    from celeriac.client.eager import apply_eagerly  # execution, below it, imports tasks

    return lambda: apply_eagerly(task, args, kwargs, {**options, "task_id": message.id})


def without_passed_time(message: Message, now: float) -> Message:
    """Make a message that was built a while ago fit to be published `now` (Unix seconds).

    `expiration` counts from the publishing, so it is worked out again; one that is over is left to the header `expires`,
    by which a worker stores the task as expired, where the broker would drop it without a word.
    """
    if message.not_before is not None and message.not_before <= now:
        message.not_before = None
    if "expiration" in message.properties:
        expires = to_timestamp(message.headers.get("expires"), "expires")
        left_ms = 0 if expires is None else int((expires - now) * 1000)
        if left_ms > 0:
            message.properties["expiration"] = str(left_ms)
        else:
            del message.properties["expiration"]
    return message
