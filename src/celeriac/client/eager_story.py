"""What happens when something is called on the spot: the same decisions as a worker's, each follow-up carried out at once.

A story asks for runs and is told how they ended; it neither knows nor minds who runs them, with `await` or without.
"""

from __future__ import annotations

import random
from collections.abc import Generator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec import Struct, field

from celeriac.client.calls import build_message, message_from_request
from celeriac.client.canvas.freeze import ResultNode
from celeriac.client.canvas.plan import Plan, PlannedCall, plan
from celeriac.client.context import Request
from celeriac.client.eager_result import EagerResult
from celeriac.client.errbacks import call_here
from celeriac.client.group_result import GroupResult
from celeriac.client.options import CALL_OPTIONS
from celeriac.client.stamps import carried
from celeriac.client.workflows import derived_ids, failed_request, is_workflow
from celeriac.core import states
from celeriac.core.decide import Facts, decide
from celeriac.core.effects import Effects, Invoke, Join, Keep, Record
from celeriac.core.outcome import ChordEnded, Failed, Ignored, Outcome, Rejected, Succeeded
from celeriac.core.policy import Policy
from celeriac.core.workflow import EndedMember
from celeriac.exceptions import CeleriacError, EncodeError, NotRegistered
from celeriac.wire import result_meta, task_v2

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac
    from celeriac.client.result_base import ResultBase
    from celeriac.core.message import Message

R = TypeVar("R")
AnyTask = Any


class Run(Struct):
    """One run that a story asks for."""

    task: AnyTask
    request: Request
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


Story = Generator[Run, Outcome, R]


class _Chord(Struct):
    size: int
    members: list[tuple[float, EndedMember]] = field(default_factory=list)
    """With their places in the header."""


class Spot(Struct):
    """What one call on the spot has brought about so far."""

    app: Celeriac
    results: dict[str, EagerResult[Any]] = field(default_factory=dict)
    chords: dict[str, _Chord] = field(default_factory=dict)
    """Those that are not complete yet."""


def tell_workflow(spot: Spot, planned: Plan) -> Story[ResultBase[Any]]:
    """Run a workflow to its end, member after member, and return its result."""
    yield from _begin(spot, planned)
    return _result_of(spot, planned.result)


def tell(
    spot: Spot, task: AnyTask, args: Sequence[Any], kwargs: Mapping[str, Any], options: Mapping[str, Any]
) -> Story[EagerResult[Any]]:
    """Run a task to its end, retries included and without their pauses, and then what follows from it."""
    app = spot.app
    task.check_arguments(args, kwargs)
    # Nobody waits for a reply, and asking for a reply queue would open a connection.
    message = build_message(app, task.name, args, kwargs, {**options, "reply_to": ""}, task.defaults)
    while True:
        request, run_args, run_kwargs = open_eagerly(task, message)
        outcome = yield Run(task, request, run_args, run_kwargs)
        _let_interrupts_through(outcome)
        effects = _decide(app, task, request, outcome)
        if effects.again is None:
            break
        message = message_from_request(task, request, effects.again)
        message.headers["parent_id"] = request.parent_id
    for added in request.added_to_chord:
        if (chord := spot.chords.get(request.group or "")) is not None:
            chord.size += 1
        yield from tell_workflow(spot, added)
    # The result stands before what follows from it is run: the body of a chord may look for it.
    result = spot.results[request.id] = _conclude(task, request, outcome, effects)
    result.children.extend((yield from _carry_out(spot, request, effects, outcome)))
    return result


def _carry_out(spot: Spot, request: Request, effects: Effects, outcome: Outcome) -> Story[list[ResultBase[Any]]]:
    """Do everything that follows from an end; returns the results of what was called."""
    children: list[ResultBase[Any]] = []
    for keep in effects.foregone:
        meta = result_meta.ResultMeta(
            status=keep.state, result=keep.result, traceback=keep.traceback, parent_id=request.id, task_id=keep.id
        )
        spot.results[keep.id] = EagerResult.of(meta)
    for index, invoke in enumerate(effects.invoke):
        if call_here(spot.app, invoke, failed_request(request, invoke)):
            continue
        child = yield from _follow(spot, invoke, index)
        children.append(child)
        if isinstance(outcome, Succeeded):
            request.children.append(child.as_tuple())
    for join in effects.joins:
        yield from _join(spot, request, join)
    return children


def _follow(spot: Spot, invoke: Invoke, index: int) -> Story[ResultBase[Any]]:
    signature = invoke.signature
    args = [] if signature.get("immutable") else list(invoke.prepend)
    options: dict[str, Any] = {"parent_id": invoke.parent_id, "root_id": invoke.root_id}
    if is_workflow(signature):
        planned = plan(signature, args, {}, {**options, "chain": invoke.chain or None}, derived_ids(invoke, index))
        return (yield from tell_workflow(spot, planned))
    own = signature.get("options") or {}
    options = {**carried(own, CALL_OPTIONS), **options}
    if invoke.chain:
        options["chain"] = invoke.chain
    args += signature.get("args") or ()
    return (yield from tell(spot, _task(spot, signature["task"]), args, signature.get("kwargs") or {}, options))


def _begin(spot: Spot, planned: Plan) -> Story[None]:
    for chord in planned.chords:
        spot.chords.setdefault(chord.group_id, _Chord(chord.size))
    for call in planned.calls:
        yield from tell(spot, _task(spot, call.name), call.args, call.kwargs, _options(call))


def _options(call: PlannedCall) -> dict[str, Any]:
    return {name: value for name, value in carried(call.options, CALL_OPTIONS).items() if value is not None}


def _task(spot: Spot, name: str) -> AnyTask:
    task = spot.app.tasks.get(name)
    if task is None:
        raise NotRegistered(name, "what runs on the spot has to be known here: import its module")
    return task


def _join(spot: Spot, request: Request, join: Join) -> Story[None]:
    chord = spot.chords.get(join.group_id)
    if chord is None:
        return
    place = float("inf") if join.index is None else join.index
    chord.members.append((place, EndedMember(join.member_id, join.state, join.result)))
    if len(chord.members) < chord.size:
        return
    del spot.chords[join.group_id]
    chord.members.sort(key=lambda placed: placed[0])
    ended = ChordEnded(join.group_id, [member for _, member in chord.members], join.body or request.chord or {})
    facts = Facts(id=request.id, root_id=request.root_id or request.id)
    effects = decide(Policy(), facts, ended, spot.app.time_source.time(), random.random())
    yield from _carry_out(spot, request, effects, ended)


def _result_of(spot: Spot, node: ResultNode) -> ResultBase[Any]:
    """Return the result of a workflow, with its members and the parents above it."""
    parent = _result_of(spot, node.parent) if node.parent is not None else None
    result: ResultBase[Any]
    if node.members is None:
        result = spot.results.get(node.id) or EagerResult(node.id, None, states.PENDING, name=node.name)
        result.parent = parent
    else:
        members = [_result_of(spot, member) for member in node.members]
        result = GroupResult(node.id, members, parent, app=spot.app, min_successes=node.min_successes)
    return result


def open_eagerly(task: AnyTask, message: Message) -> tuple[Request, tuple[Any, ...], dict[str, Any]]:
    """Return the request of a message and the arguments for the function, as a worker would have them.

    Raises what a worker would park the message for: `DecodeError`, `ContentDisallowed`, `ArgumentError`.
    """
    app = task.app
    args, kwargs, embed = task_v2.decode_body(message, app.settings.accept_content, keys=app.content.keys)
    request = Request.from_message(
        message, args, kwargs, embed, hostname=app.origin, redelivered=False, priority_of=app.amqp.from_wire
    )
    request.owner = task
    request.is_eager = request.delivery_info["is_eager"] = True
    request.reply_to = None
    if task.conversion is None:
        return request, tuple(args), kwargs
    return request, *task.conversion.load_arguments(tuple(args), kwargs)


def _decide(app: Celeriac, task: AnyTask, request: Request, outcome: Outcome) -> Effects:
    facts = Facts(
        id=request.id,
        root_id=request.root_id or request.id,
        retries=request.retries,
        callbacks=request.callbacks or [],
        errbacks=request.errbacks or [],
        chain=request.chain or [],
        in_chord=request.chord is not None,
        group_id=request.group or "",
        group_index=request.group_index,
    )
    return decide(task.policy, facts, outcome, app.time_source.time(), random.random())


def with_readable_result(run: Run, outcome: Outcome) -> Outcome:
    """Let a task fail whose result a worker could not store."""
    task, request = run.task, run.request
    effects = _decide(task.app, task, request, outcome)
    if request.ignore_result or effects.keep is None:
        return outcome
    try:
        _encoded(task, _meta_of(task, request, outcome, effects.keep))
    except Exception as error:  # whatever a value does when it is written
        return Failed(error if isinstance(error, CeleriacError) else EncodeError(f"{error!r}"), "")
    return outcome


def _conclude(task: AnyTask, request: Request, outcome: Outcome, effects: Effects) -> EagerResult[Any]:
    meta = _meta_of(task, request, outcome, effects.keep)
    wanted = not request.ignore_result or (task.store_errors_even_if_ignored and meta.status in states.PROPAGATE_STATES)
    if task.store_eager_result and effects.keep is not None and wanted:
        expires_s = task.app.settings.expires_of(meta.status)
        task.app._reader.store([Record(request.id, meta.status, _encoded(task, meta), expires_s)])
    return EagerResult.of(meta)


def _meta_of(task: AnyTask, request: Request, outcome: Outcome, keep: Keep | None) -> result_meta.ResultMeta:
    match outcome:
        case Ignored():
            status, value, traceback = states.IGNORED, None, None
        case Rejected(exc=exc, traceback=traceback):
            status, value = states.REJECTED, exc
        case _ if keep is not None:
            status, value, traceback = keep.state, keep.result, keep.traceback
        case _:
            status, value, traceback = states.IGNORED, None, None
    return result_meta.ResultMeta(
        status=status,
        result=value,
        traceback=traceback,
        children=request.children,
        date_done=datetime.fromtimestamp(task.app.time_source.time(), UTC).isoformat(),
        task_id=request.id,
        group_id=request.group,
        parent_id=request.parent_id,
        name=task.name,
        args=list(request.args),
        kwargs=request.kwargs,
        worker=request.hostname,
        retries=request.retries,
        queue=request.queue or request.delivery_info["routing_key"],
    )


def _encoded(task: AnyTask, meta: result_meta.ResultMeta) -> bytes:
    app = task.app
    return result_meta.encode(meta, max_bytes=app.settings.result_max_bytes, form=app.content.results)


def _let_interrupts_through(outcome: Outcome) -> None:
    """A worker ends the task and goes on; in the user's own program Ctrl-C and `sys.exit()` mean the program."""
    exc = getattr(outcome, "exc", None)
    if isinstance(exc, KeyboardInterrupt | SystemExit):
        raise exc
