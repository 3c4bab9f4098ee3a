"""Sending a workflow: everything is checked and written, then its chords are opened, then its first messages go in batches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from celeriac.client import calls
from celeriac.client.call_checks import check_call_options
from celeriac.client.chords import opening_of, uncounted
from celeriac.client.context import running_request
from celeriac.client.group_result import GroupResult
from celeriac.client.result import AsyncResult
from celeriac.client.result_siblings import make_siblings
from celeriac.client.stamps import take_stamps
from celeriac.coordination.location import coordination_url
from celeriac.core.headers import GROUP_LIMIT
from celeriac.exceptions import EncodeError
from celeriac.wire.json_text import MAX_DEPTH

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac
    from celeriac.client.canvas.freeze import ResultNode
    from celeriac.client.canvas.plan import Plan, PlannedCall
    from celeriac.client.result_base import ResultBase
    from celeriac.core.message import Message
    from celeriac.core.workflow import ChordOpening

Options = Mapping[str, Any]

_OF_WORKFLOWS: Final = frozenset({"task_id", "group_id", "group_index", "chord", "link", "link_error", "reply_to"})
"""Options that workflows give to their tasks, or have looked at themselves."""
_AROUND: Final = 3
"""Levels of a message around the signatures in it."""


def send(app: Celeriac, planned: Plan, options: Options) -> ResultBase[Any]:
    """Send what a workflow begins with; see `Workflow.apply_async`. `options` are those of the call."""
    messages, openings = written(app, planned)
    if openings:
        app._reader.open_chords(openings)
    if messages:
        app.sender.publish_all(messages, options)
    return noted(app, planned, options)


async def asend(app: Celeriac, planned: Plan, options: Options) -> ResultBase[Any]:
    """As `send`, without blocking the event loop."""
    messages, openings = written(app, planned)
    if openings:
        import asyncio  # which most programs do not need

        await asyncio.to_thread(app._reader.open_chords, openings)
    if messages:
        await app.sender.apublish_all(messages, options)
    return noted(app, planned, options)


def to_result(app: Celeriac, node: ResultNode) -> ResultBase[Any]:
    """Return the result that a plan tells of, with those before it as its parents."""
    line: list[ResultNode] = []
    rest: ResultNode | None = node
    while rest is not None:
        line.append(rest)
        rest = rest.parent
    parent: ResultBase[Any] | None = None
    for one in reversed(line):  # not recursive: a chain may be longer than calls may be deep
        parent = _result(app, one, parent)
    assert parent is not None
    return parent


def _result(app: Celeriac, node: ResultNode, parent: ResultBase[Any] | None) -> ResultBase[Any]:
    if node.members is not None:
        members: list[Any] = [to_result(app, member) for member in node.members]
        make_siblings(members)
        return GroupResult(node.id, members, parent, app=app, min_successes=node.min_successes)
    ignored = node.ignored
    if ignored is None:
        task = app.tasks.get(node.name)
        ignored = task.ignore_result if task is not None else False
    return AsyncResult(node.id, app=app, parent=parent, ignored=ignored)


def written(app: Celeriac, planned: Plan) -> tuple[list[Message], list[ChordOpening]]:
    """Check a plan and write it out; nothing is sent yet."""
    _check(app, planned)
    if any(GROUP_LIMIT in (call.options.get("headers") or {}) for call in planned.calls):
        coordination_url(app.settings, app.locations.broker, "max_concurrency of a group")
    if planned.needs_counting and not app.backend.counts_chords:
        raise uncounted(app)
    messages = [_message(app, call) for call in planned.calls]
    form = messages[0].content_type if messages else "json"
    openings = [opening_of(app, chord.group_id, chord.size, chord.body, form) for chord in planned.chords]
    return messages, openings


def _check(app: Celeriac, planned: Plan) -> None:
    """Raise for what is wrong already in any of the tasks, those to come included."""
    complete = [(call.name, call.args, call.kwargs) for call in planned.calls]
    for task in planned.tasks:
        if task.options.keys() - _OF_WORKFLOWS:
            options, _stamps = take_stamps(task.name, task.options)
            check_call_options(task.name, options)
        if task.immutable:
            complete.append((task.name, task.args, task.kwargs))
    for name, args, kwargs in complete:
        known = app.tasks.get(name)
        if known is not None:
            known.check_arguments(args, kwargs)


def _message(app: Celeriac, call: PlannedCall) -> Message:
    task = app.tasks.get(call.name)
    defaults = task.defaults if task is not None else app.sender.defaults_of(call.name)
    try:
        return calls.build_message(app, call.name, call.args, call.kwargs, call.options, defaults)
    except EncodeError as error:
        if not _too_deep([call.options.get("chain"), call.options.get("chord")]):
            raise
        raise EncodeError(
            f"what follows task {call.name!r} in its workflow is nested too deeply for a message: have an inner part sent by a"
            " task of its own, which does `return self.replace(part)`"
        ) from error


def _too_deep(value: Any) -> bool:
    """Tell whether signatures alone are nested more deeply than a message may be."""
    level = [value]
    for _ in range(MAX_DEPTH - _AROUND):
        level = [
            part
            for one in level
            for part in (one.values() if isinstance(one, dict) else one)
            if isinstance(part, dict | list)
        ]
        if not level:
            return False
    return True


def noted(app: Celeriac, planned: Plan, options: Options) -> ResultBase[Any]:
    """Return the result of a plan that was sent, noted as a child of the task that runs here."""
    running = running_request()
    if running is not None and options.get("add_to_parent", True) and getattr(running.owner, "trail", True):
        running.children.append(planned.child.as_tuple())
    return to_result(app, planned.result)
