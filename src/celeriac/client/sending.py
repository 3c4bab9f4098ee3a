"""Sending calls: from what the caller says to a message that the broker has, and the result that stands for it."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

from msgspec.structs import replace

from celeriac.client import calls, plans, result, unique
from celeriac.client.announcing import announce_published, announce_publishing
from celeriac.client.batch_arguments import arguments_of
from celeriac.client.batch_limits import batches_of
from celeriac.client.context import Request, result_tuple, running_request
from celeriac.client.publisher import RetryPolicy, retry_policy_of
from celeriac.client.signing import sign_messages
from celeriac.core.effects import Again, Record
from celeriac.wire import result_meta

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac
    from celeriac.client.canvas.plan import Plan
    from celeriac.client.result_base import ResultBase
    from celeriac.client.task import Task
    from celeriac.core.message import Message
    from celeriac.exceptions import Retry

R = TypeVar("R")
Args = Sequence[Any]
Kwargs = Mapping[str, Any]
Options = Mapping[str, Any]


class Sender:
    """Sends what one app's programs and tasks call, each way of calling in two colours.  Thread-safe."""

    def __init__(self, app: Celeriac) -> None:
        self._app = app

    # -- calls of tasks that are known here ---------------------------------------------------------------------------

    def call(self, task: Task[Any, R], args: Args, kwargs: Kwargs, options: Options) -> result.AsyncResult[R]:
        """Send a call of a registered task, or run it on the spot in eager mode."""
        if self._app.settings.task_always_eager:
            from celeriac.client.eager import apply_eagerly

            return cast("result.AsyncResult[R]", apply_eagerly(task, args, kwargs, options))
        began = time.monotonic()
        task.check_arguments(args, kwargs)
        message = calls.build_message(self._app, task.name, args, kwargs, options, task.defaults)
        return self._send(task, message, args, kwargs, options, began)

    async def acall(self, task: Task[Any, R], args: Args, kwargs: Kwargs, options: Options) -> result.AsyncResult[R]:
        """As `call`, without blocking the event loop."""
        if self._app.settings.task_always_eager:
            from celeriac.client.eager import aapply_eagerly

            return cast("result.AsyncResult[R]", await aapply_eagerly(task, args, kwargs, options))
        began = time.monotonic()
        task.check_arguments(args, kwargs)
        message = calls.build_message(self._app, task.name, args, kwargs, options, task.defaults)
        return await self._asend(task, message, args, kwargs, options, began)

    def call_many(self, task: Task[Any, R], given: Iterable[Any]) -> list[result.AsyncResult[R]]:
        """Send many calls of a registered task; see `Task.delay_many`."""
        from celeriac.client import batch_calls, batches  # most programs send one by one

        def run(one: Any) -> result.AsyncResult[R]:
            return self.call(task, *arguments_of(task, one), {})

        return batches.send_many(self._app, given, batch_calls.writer_of(task), run)

    async def acall_many(self, task: Task[Any, R], given: Iterable[Any]) -> list[result.AsyncResult[R]]:
        """As `call_many`, without blocking the event loop."""
        from celeriac.client import batch_calls, batches

        def run(one: Any) -> Awaitable[result.AsyncResult[R]]:
            return self.acall(task, *arguments_of(task, one), {})

        return await batches.asend_many(self._app, given, batch_calls.writer_of(task), run)

    def send_many(self, signatures: Iterable[Any]) -> list[Any]:
        """Send many signatures; see `Celeriac.send_many`."""
        from celeriac.client import batch_calls, batches

        def run(one: Any) -> Any:
            return batch_calls.signature_of(one, self._app).apply_async()

        return batches.send_many(self._app, signatures, batch_calls.writer_of_signatures(self._app), run)

    async def asend_many(self, signatures: Iterable[Any]) -> list[Any]:
        """As `send_many`, without blocking the event loop."""
        from celeriac.client import batch_calls, batches

        def run(one: Any) -> Awaitable[Any]:
            return batch_calls.signature_of(one, self._app).aapply_async()

        return await batches.asend_many(self._app, signatures, batch_calls.writer_of_signatures(self._app), run)

    # -- calls by name ------------------------------------------------------------------------------------------------

    def send(self, name: str, args: Args, kwargs: Kwargs, options: Options) -> result.AsyncResult[Any]:
        """Send a call of a task that need not be known here."""
        began = time.monotonic()
        message = calls.build_message(self._app, name, args, kwargs, options, self.defaults_of(name))
        return self._send(self._app.tasks.get(name), message, args, kwargs, options, began)

    async def asend(self, name: str, args: Args, kwargs: Kwargs, options: Options) -> result.AsyncResult[Any]:
        """As `send`, without blocking the event loop."""
        began = time.monotonic()
        message = calls.build_message(self._app, name, args, kwargs, options, self.defaults_of(name))
        return await self._asend(self._app.tasks.get(name), message, args, kwargs, options, began)

    def defaults_of(self, name: str) -> calls.Defaults:
        """Return what a call by name starts from."""
        known = self._app.amqp.defaults
        defaults = known.get(name)
        if defaults is None:
            defaults = known[name] = calls.defaults_of_name(name, self._app)
        task = self._app.tasks.get(name)
        if task is not None:  # where its workers are; all else is the worker's to know
            defaults = replace(defaults, route=task.defaults.route, way=task.defaults.way)
            defaults.limit_headers = task.defaults.limit_headers
        return defaults

    # -- workflows ----------------------------------------------------------------------------------------------------

    def send_plan(self, plan: Plan, options: Options) -> ResultBase[Any]:
        """Send what a workflow begins with; `options` are those of the call."""
        return plans.send(self._app, plan, options)

    async def asend_plan(self, plan: Plan, options: Options) -> ResultBase[Any]:
        """As `send_plan`, without blocking the event loop."""
        return await plans.asend(self._app, plan, options)

    # -- for the running task -----------------------------------------------------------------------------------------

    def retry(self, task: Task[Any, Any], request: Request, asked: Retry) -> None:
        """Send a retry beside the running task, which goes on."""
        if request.is_eager:
            return  # it is running to its end here and now, and there is nobody to send it to
        when_s = asked.when_s
        if when_s is None:
            when_s = self._app.time_source.time() + task.policy.default_retry_delay_s
        again = Again(request.retries + 1, when_s, asked.args_override, asked.kwargs_override, asked.options)
        self.publish(calls.message_from_request(task, request, again), {})

    def store_state(self, task_id: str, state: str, meta: Any) -> None:
        """Store a state for a task that does not run here."""
        app = self._app
        document = result_meta.ResultMeta(status=state, result=meta, children=None, task_id=task_id)
        payload = result_meta.encode(document, max_bytes=app.settings.result_max_bytes, form=app.content.results)
        app._reader.store([Record(task_id, state, payload, app.settings.expires_of(state))])

    # -- messages -----------------------------------------------------------------------------------------------------

    def publish(self, message: Message, options: Options, began: float | None = None) -> None:
        """Hand a message to the broker; `options` are those of the call, `began` as in `publish_batch`."""
        self.publish_batch([message], retry_policy_of(options, self._app.settings), began)

    def publish_all(self, messages: Sequence[Message], options: Options) -> None:
        """Hand messages to the broker in as few batches as may be; `options` are those of the call.

        Raises `PartlySent` when that fails after the first batch.
        """
        settings = self._app.settings
        policy = retry_policy_of(options, settings)
        sent = 0
        for batch in batches_of(messages, settings):
            try:
                self.publish_batch(batch, policy)
            except Exception as error:
                from celeriac.client.batches import raise_partly_sent

                raise_partly_sent(self._app, messages[:sent], batch, error)
            sent += len(batch)

    def publish_batch(self, messages: Sequence[Message], policy: RetryPolicy, began: float | None = None) -> None:
        """Hand messages to the broker in one go; `began`: when the call did (monotonic seconds), if not just now.

        The first call of a process imports what its broker and backend need: the deadline is over that, too.
        """
        began = time.monotonic() if began is None else began
        settings = self._app.settings
        for message in messages:
            announce_publishing(self._app, message)
        sign_messages(self._app, messages)
        connections = self._app._connections
        # A task that can't send fails, and may be retried: that is safer than a message in the memory of its executor.
        publisher = connections.buffer if running_request() is None else connections.publisher
        publisher.publish(messages, settings.publish_timeout_s, policy, began)
        for message in messages:
            announce_published(self._app, message)

    async def apublish(self, message: Message, options: Options, began: float | None = None) -> None:
        """As `publish`, without blocking the event loop."""
        began = time.monotonic() if began is None else began
        settings = self._app.settings
        policy = retry_policy_of(options, settings)
        announce_publishing(self._app, message)
        sign_messages(self._app, [message])
        connections = self._app._connections
        if settings.publish_buffer_max and running_request() is not None:  # as above
            import asyncio  # 15 ms and 6 MB that a program without coroutines does not need

            await asyncio.to_thread(connections.publisher.publish, [message], settings.publish_timeout_s, policy, began)
        else:
            await connections.async_publisher.publish(message, settings.publish_timeout_s, policy, began)
        announce_published(self._app, message)

    async def apublish_all(self, messages: Sequence[Message], options: Options) -> None:
        """As `publish_all`, without blocking the event loop."""
        import asyncio  # as above

        await asyncio.to_thread(self.publish_all, messages, options)

    def result_of(self, message: Message, options: Options) -> result.AsyncResult[Any]:
        """Return the result of a message, and note it as a child of the task that runs here."""
        task_id = message.id
        running = running_request()
        if running is not None and options.get("add_to_parent", True) and getattr(running.owner, "trail", True):
            running.children.append(result_tuple(task_id))
        return result.AsyncResult(task_id, app=self._app, ignored=bool(message.headers["ignore_result"]))

    def _send(
        self, task: Task[Any, Any] | None, message: Message, args: Args, kwargs: Kwargs, options: Options, began: float
    ) -> result.AsyncResult[Any]:
        if "unique" in options or (task is not None and task.unique):
            take = unique.plan(self._app, task, message, args, kwargs, options)
            if take is not None:
                return unique.send(self._app, message, take, options)
        self.publish(message, options, began)
        return self.result_of(message, options)

    async def _asend(
        self, task: Task[Any, Any] | None, message: Message, args: Args, kwargs: Kwargs, options: Options, began: float
    ) -> result.AsyncResult[Any]:
        if "unique" in options or (task is not None and task.unique):
            take = unique.plan(self._app, task, message, args, kwargs, options)
            if take is not None:
                return await unique.asend(self._app, message, take, options)
        await self.apublish(message, options, began)
        return self.result_of(message, options)
