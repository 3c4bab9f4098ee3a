"""Sending calls: from what the caller says to a message that the broker has, and the result that stands for it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

from msgspec.structs import replace

from celeriac.client import calls, plans, result, unique
from celeriac.client.announcing import announce_published, announce_publishing
from celeriac.client.context import Request, result_tuple, running_request
from celeriac.client.publisher import UNTIL_DEADLINE, RetryPolicy, make_retry_policy
from celeriac.client.signing import sign_messages
from celeriac.core.effects import Again, Record
from celeriac.wire import result_meta

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac
    from celeriac.client.canvas.plan import Plan
    from celeriac.client.result_base import ResultBase
    from celeriac.client.task import Task
    from celeriac.core.message import Message
    from celeriac.core.settings import Settings
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
        task.check_arguments(args, kwargs)
        message = calls.build_message(self._app, task.name, args, kwargs, options, task.defaults)
        return self._send(task, message, args, kwargs, options)

    async def acall(self, task: Task[Any, R], args: Args, kwargs: Kwargs, options: Options) -> result.AsyncResult[R]:
        """As `call`, without blocking the event loop."""
        if self._app.settings.task_always_eager:
            from celeriac.client.eager import aapply_eagerly

            return cast("result.AsyncResult[R]", await aapply_eagerly(task, args, kwargs, options))
        task.check_arguments(args, kwargs)
        message = calls.build_message(self._app, task.name, args, kwargs, options, task.defaults)
        return await self._asend(task, message, args, kwargs, options)

    # -- calls by name ------------------------------------------------------------------------------------------------

    def send(self, name: str, args: Args, kwargs: Kwargs, options: Options) -> result.AsyncResult[Any]:
        """Send a call of a task that need not be known here."""
        message = calls.build_message(self._app, name, args, kwargs, options, self.defaults_of(name))
        return self._send(self._app.tasks.get(name), message, args, kwargs, options)

    async def asend(self, name: str, args: Args, kwargs: Kwargs, options: Options) -> result.AsyncResult[Any]:
        """As `send`, without blocking the event loop."""
        message = calls.build_message(self._app, name, args, kwargs, options, self.defaults_of(name))
        return await self._asend(self._app.tasks.get(name), message, args, kwargs, options)

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

    def publish(self, message: Message, options: Options) -> None:
        """Hand a message to the broker; `options` are those of the call."""
        self.publish_all([message], options)

    def publish_all(self, messages: Sequence[Message], options: Options) -> None:
        """Hand messages to the broker in one batch; `options` are those of the call."""
        settings = self._app.settings
        policy = _retry_policy(options, settings)
        for message in messages:
            announce_publishing(message)
        sign_messages(self._app, messages)
        connections = self._app._connections
        # A task that can't send fails, and may be retried: that is safer than a message in the memory of its executor.
        publisher = connections.buffer if running_request() is None else connections.publisher
        publisher.publish(messages, settings.publish_timeout_s, policy)
        for message in messages:
            announce_published(message)

    async def apublish(self, message: Message, options: Options) -> None:
        """As `publish`, without blocking the event loop."""
        settings = self._app.settings
        policy = _retry_policy(options, settings)
        announce_publishing(message)
        sign_messages(self._app, [message])
        connections = self._app._connections
        if settings.publish_buffer_max and running_request() is not None:  # as above
            await asyncio.to_thread(connections.publisher.publish, [message], settings.publish_timeout_s, policy)
        else:
            await connections.async_publisher.publish(message, settings.publish_timeout_s, policy)
        announce_published(message)

    async def apublish_all(self, messages: Sequence[Message], options: Options) -> None:
        """As `publish_all`, without blocking the event loop."""
        await asyncio.to_thread(self.publish_all, messages, options)

    def result_of(self, message: Message, options: Options) -> result.AsyncResult[Any]:
        """Return the result of a message, and note it as a child of the task that runs here."""
        task_id = message.id
        running = running_request()
        if running is not None and options.get("add_to_parent", True) and getattr(running.owner, "trail", True):
            running.children.append(result_tuple(task_id))
        return result.AsyncResult(task_id, app=self._app, ignored=bool(message.headers["ignore_result"]))

    def _send(
        self, task: Task[Any, Any] | None, message: Message, args: Args, kwargs: Kwargs, options: Options
    ) -> result.AsyncResult[Any]:
        if "unique" in options or (task is not None and task.unique):
            take = unique.plan(self._app, task, message, args, kwargs, options)
            if take is not None:
                return unique.send(self._app, message, take, options)
        self.publish(message, options)
        return self.result_of(message, options)

    async def _asend(
        self, task: Task[Any, Any] | None, message: Message, args: Args, kwargs: Kwargs, options: Options
    ) -> result.AsyncResult[Any]:
        if "unique" in options or (task is not None and task.unique):
            take = unique.plan(self._app, task, message, args, kwargs, options)
            if take is not None:
                return await unique.asend(self._app, message, take, options)
        await self.apublish(message, options)
        return self.result_of(message, options)


def _retry_policy(options: Mapping[str, Any], settings: Settings) -> RetryPolicy:
    retry, policy = settings.task_publish_retry, settings.task_publish_retry_policy
    if not options and retry and policy is None:
        return UNTIL_DEADLINE
    return make_retry_policy(options.get("retry", retry), options.get("retry_policy") or policy)
