"""Sending many calls in few round trips: what comes is cut into batches, and what was accepted is known whatever happens."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, NoReturn

from celeriac.client import plans, unique
from celeriac.client.batch_calls import Call, Write
from celeriac.client.batch_limits import Room
from celeriac.client.result import AsyncResult
from celeriac.client.result_siblings import make_siblings
from celeriac.exceptions import PartlySent, PublishTimeout, SoftTimeLimitExceeded, Unroutable

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac
    from celeriac.client.result_base import ResultBase
    from celeriac.core.message import Message


def send_many(app: Celeriac, given: Iterable[Any], write: Write, run: Callable[[Any], Any]) -> list[Any]:
    """Send calls, taken one after the other, and return their results; see `Task.delay_many`.

    `run` runs a call here and now, for eager mode.
    """
    if app.settings.task_always_eager:
        return [run(one) for one in given]
    many = ManyCalls(app, write)
    rest = iter(given)
    try:
        for one in rest:
            if batch := many.take(one):
                many.send(batch)
        many.send(many.cut())
    except Exception as error:
        many.end(error, rest)
    return many.results


async def asend_many(
    app: Celeriac, given: Iterable[Any], write: Write, run: Callable[[Any], Awaitable[Any]]
) -> list[Any]:
    """As `send_many`, without blocking the event loop: calls are taken and written in it, batches are sent in a thread."""
    if app.settings.task_always_eager:
        return [await run(one) for one in given]
    import asyncio  # which most programs do not need

    many = ManyCalls(app, write)
    rest = iter(given)
    try:
        for one in rest:
            if batch := many.take(one):
                await asyncio.to_thread(many.send, batch)
        await asyncio.to_thread(many.send, many.cut())
    except Exception as error:
        many.end(error, rest)
    return many.results


class ManyCalls:
    """The calls of one `send_many`.

    Duties: 1. check and write each call as it is taken; 2. say when a batch of them is to be sent; 3. send it; 4. know which calls
    were accepted, and say so in the error when sending ends early.
    """

    def __init__(self, app: Celeriac, write: Write) -> None:
        self._app = app
        self._write = write
        self._taken: list[Any] = []
        """Calls that are not sent yet, as they were given."""
        self._calls: list[Call] = []
        """Those of them that are written and in no batch yet."""
        self._room = Room(app.settings)
        self.results: list[Any] = []
        """Of the calls that were accepted."""
        self._unsure: list[Any] = []

    def take(self, given: Any) -> list[Call]:
        """Take a call and return the batch that is to be sent now, which is mostly empty. Raises what is wrong with the call."""
        self._taken.append(given)
        call = self._write(given)
        batch: list[Call] = []
        # All of a batch are tried again in the same way.
        if (self._calls and self._calls[0].policy != call.policy) or not self._room.take(call.message):
            batch = self.cut()
            self._room.take(call.message)
        self._calls.append(call)
        return batch or (self.cut() if self._room.is_full else batch)

    def cut(self) -> list[Call]:
        """Return the calls that are in no batch yet as one."""
        batch, self._calls, self._room = self._calls, [], Room(self._app.settings)
        return batch

    def send(self, batch: Sequence[Call]) -> None:
        """Send a batch and note its results. Blocking; raises as `Task.apply_async`.

        The keys of unique tasks are taken first, in one round trip.  A duplicate that is to raise ends the batch before it.
        """
        app = self._app
        unique.take_all(app, batch)
        refused = next((place for place, call in enumerate(batch) if call.is_refused), len(batch))
        unique.take_back_all(app, batch[refused:], None)
        self._publish(batch[:refused])
        if refused < len(batch):
            self._result(batch[refused])  # raises what is to be raised

    def end(self, error: Exception, rest: Iterable[Any]) -> NoReturn:
        """Raise the error by which sending ended, or one that also tells what was accepted, where anything was.

        `rest`: the calls that have not been taken.
        """
        own_limit = isinstance(error, SoftTimeLimitExceeded)  # of the task that was sending, which waits for it
        if own_limit or not (self.results or self._unsure):
            raise error
        raise partly_sent(self.results, self._unsure, error, chain(self._taken, rest)) from error

    def _publish(self, calls: Sequence[Call]) -> None:
        messages = [call.message for call in calls if not call.is_duplicate]
        try:
            if messages:
                self._app.sender.publish_batch(messages, calls[0].policy)
        except Unroutable as error:  # all others were sent
            unique.take_back_all(self._app, [call for call in calls if call.message.id in error.ids], error)
            self._accept(calls, error.ids)
            raise
        except BaseException as error:
            unique.take_back_all(self._app, calls, error)
            if isinstance(error, PublishTimeout):
                self._unsure = [self._result(call) for call in calls]
                del self._taken[: len(calls)]
            raise
        self._accept(calls)

    def _accept(self, calls: Sequence[Call], lost: Collection[str] = ()) -> None:
        """Note calls as sent, but for those whose ids are `lost`."""
        taken = self._taken[: len(calls)]
        self._taken[: len(calls)] = [one for one, call in zip(taken, calls, strict=True) if call.message.id in lost]
        results = [self._result(call) for call in calls if call.message.id not in lost]
        make_siblings(results)
        self.results += results

    def _result(self, call: Call) -> ResultBase[Any]:
        if call.is_duplicate:
            return unique.existing_result(self._app, call)
        if call.plan is not None:
            return plans.noted(self._app, call.plan, call.options)
        return self._app.sender.result_of(call.message, call.options)


def raise_partly_sent(app: Celeriac, sent: Sequence[Message], batch: Sequence[Message], error: Exception) -> NoReturn:
    """Raise the error by which sending a workflow ended, or, where some of its messages were sent before, one that tells of them."""
    if not sent or isinstance(error, SoftTimeLimitExceeded):
        raise error
    accepted = [*sent, *(message for message in batch if isinstance(error, Unroutable) and message.id not in error.ids)]
    unsure = batch if isinstance(error, PublishTimeout) else ()
    raise partly_sent(_results(app, accepted), _results(app, unsure), error) from error


def _results(app: Celeriac, messages: Iterable[Message]) -> list[AsyncResult[Any]]:
    return [AsyncResult(message.id, app=app) for message in messages]


def partly_sent(
    accepted: Sequence[Any], unsure: Sequence[Any], error: Exception, rest: Iterable[Any] = ()
) -> PartlySent:
    """Return the error that says how far sending got before `error` ended it."""
    doubt = f", of {len(unsure)} it is not known" if unsure else ""
    return PartlySent(
        f"{len(accepted)} calls were accepted{doubt}, then sending ended: {error} (the error's `accepted` and `unsure` are the"
        " results of these calls)",
        accepted,
        unsure,
        rest,
    )
