"""From what a batch call is given to messages: each call is checked and written before its batch is sent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from celeriac.client import calls, plans, unique
from celeriac.client.batch_arguments import NOTHING, arguments_of
from celeriac.client.canvas.plan import Plan
from celeriac.client.canvas.signature import Signature, part
from celeriac.client.canvas.workflow import Workflow
from celeriac.client.publisher import UNTIL_DEADLINE, RetryPolicy, retry_policy_of
from celeriac.core.message import Message
from celeriac.core.unique import Answer, Take

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac
    from celeriac.client.task import Task

Options = Mapping[str, Any]


class Call(Struct):
    """One call of a batch, written."""

    message: Message
    options: Options = NOTHING
    """Those of the call."""
    policy: RetryPolicy = UNTIL_DEADLINE
    take: Take | None = None
    """What a unique task has to take first."""
    answer: Answer | None = None
    """What came of that."""
    plan: Plan | None = None
    """Of a chain: what the message begins."""

    @property
    def is_duplicate(self) -> bool:
        """Whether nothing is to be sent, because another call holds its key."""
        return self.answer is not None and self.answer.verdict == "duplicate"

    @property
    def is_refused(self) -> bool:
        """Whether that is an error."""
        return self.is_duplicate and self.take is not None and self.take.on_conflict == "raise"


Write = Callable[[Any], Call]
"""Checks and writes one call as it was given. Raises as `Task.apply_async`."""


def writer_of(task: Task[Any, Any]) -> Write:
    """Return what writes the calls of one task, each given by its arguments."""
    app, policy = task.app, retry_policy_of(NOTHING, task.app.settings)

    def write(given: Any) -> Call:
        args, kwargs = arguments_of(task, given)
        task.check_arguments(args, kwargs)
        message = calls.build_message(app, task.name, args, kwargs, NOTHING, task.defaults)
        take = unique.plan(app, task, message, args, kwargs, NOTHING) if task.unique else None
        return Call(message, NOTHING, policy, take)

    return write


def writer_of_signatures(app: Celeriac) -> Write:
    """Return what writes calls that are given as signatures: of tasks, and of chains that begin with one task."""

    def write(given: Any) -> Call:
        signature = signature_of(given, app)
        if isinstance(signature, Workflow):
            return _begun(app, signature)
        name, args, kwargs, options = signature.task, signature.args, signature.kwargs, signature.options
        task = app.tasks.get(name)
        if task is not None:
            task.check_arguments(args, kwargs)
        defaults = task.defaults if task is not None else app.sender.defaults_of(name)
        message = calls.build_message(app, name, args, kwargs, options, defaults)
        is_unique = "unique" in options or (task is not None and task.unique)
        take = unique.plan(app, task, message, args, kwargs, options) if is_unique else None
        return Call(message, options, retry_policy_of(options, app.settings), take)

    return write


def signature_of(given: Any, app: Celeriac) -> Signature:
    """Return a call as `send_many` takes it: a signature, or the dict of one. Raises `TypeError` for what is neither."""
    return part(given, app, "app.send_many() takes signatures")


def _begun(app: Celeriac, workflow: Workflow) -> Call:
    planned = workflow._plan(app, (), {}, {})
    messages, openings = plans.written(app, planned)
    if openings or len(messages) != 1:
        raise TypeError(
            f"app.send_many() takes calls of tasks, and chains that begin with one: {workflow!r:.200} begins with several, so send it by"
            " its own apply_async()"
        )
    return Call(messages[0], policy=retry_policy_of(NOTHING, app.settings), plan=planned)
