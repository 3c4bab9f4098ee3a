"""Calls of unique tasks: the key is taken before the message is sent, and given back when it could not be sent."""

from __future__ import annotations

import inspect
import logging
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from celeriac.client.context import result_tuple, running_request
from celeriac.client.options import nearest
from celeriac.client.result import AsyncResult
from celeriac.coordination.location import coordination_url
from celeriac.coordination.unique import UniqueStore, open_unique_store
from celeriac.core.converting import convert
from celeriac.core.headers import to_timestamp
from celeriac.core.unique import LONGEST_S, UNIQUE, Answer, Hold, Mark, Step, Take, Undo, Unique, as_unique, make_key
from celeriac.exceptions import (
    ArgumentError,
    CeleriacError,
    CoordinationUnavailable,
    DuplicateTask,
    ImproperlyConfigured,
    PublishTimeout,
)

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac
    from celeriac.client.arguments import Binder
    from celeriac.client.batch_calls import Call
    from celeriac.client.task import Task
    from celeriac.core.message import Message

logger = logging.getLogger("celeriac.client")

UNSURE_S: Final = 60.0
"""How long a key stays with a message of which nobody knows whether it arrived: one that did holds it anew when it is claimed."""
OWED_MAX: Final = 1000
"""So many keys that could not be given back are remembered until the store is there again."""

_MANY: Final = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def check_names(task_name: str, unique: Unique | None, binder: Binder) -> None:
    """Raise `ImproperlyConfigured` when `by=` names a parameter that the task does not have."""
    if unique is None or unique.names is None:
        return
    parameters = binder.signature.parameters
    if any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
        return
    known = [name for name, each in parameters.items() if each.kind not in _MANY]
    for name in unique.names:
        if name not in known:
            raise ImproperlyConfigured(
                f"task {task_name!r}: Unique(by={name!r}) names no parameter of {binder}{nearest(name, known)}"
            )


def unique_store(app: Celeriac, task_name: str) -> UniqueStore:
    """Return this process's store of keys. Raises `ImproperlyConfigured` when there is no place for it."""

    def make() -> UniqueStore:
        url = coordination_url(app.settings, app.locations.broker, f"task {task_name!r}, which is unique,")
        return open_unique_store(url, app.settings, app.time_source.time)

    store: UniqueStore = app._connections.part("unique", make)
    return store


def plan(
    app: Celeriac,
    task: Task[Any, Any] | None,
    message: Message,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    options: Mapping[str, Any],
) -> Take | None:
    """Return what a call has to take before its message is sent, and mark the message; None when it is not unique.

    `task` is None for one that is known by name only.  Raises `ArgumentError` when no key can be made, `ImproperlyConfigured`.
    """
    given = options.get("unique")
    unique = as_unique(message.task, task.unique if task is not None and given is None else given)
    if unique is None:
        return None
    binder = task.binder if task is not None else None
    if binder is not None and given is not None:
        check_names(message.task, unique, binder)
    parts = _parts(message.task, unique, binder, args, kwargs)
    if parts is None:
        return None
    key = make_key(message.task, parts)
    hold_s = _hold_s(app, message)
    kept_s = min(unique.kept_s, LONGEST_S)
    message.headers[UNIQUE] = {
        "key": key,
        "until": unique.mode,
        "on_conflict": unique.on_conflict,
        "expires_s": hold_s,
        "window_s": kept_s,
    }
    return Take(key, message.id, kept_s if unique.mode == "window" else hold_s, kept_s, unique.on_conflict)


def send(app: Celeriac, message: Message, take: Take, options: Mapping[str, Any]) -> AsyncResult[Any]:
    """Send a planned call, unless another holds its key; errors are those of `Task.apply_async`, and:

    Raises `DuplicateTask` if the task says so, `CoordinationUnavailable` when the key could not be asked for; nothing was sent
    then.  Blocks up to twice `publish_timeout_s`.
    """
    (answer,) = _take(app, message.task, [take])
    if answer.verdict == "duplicate":
        return _duplicate(app, message, take, answer.id, options)
    try:
        app.sender.publish(message, options)
    except BaseException as error:
        _take_back(app, message.task, [(take, answer)], error)
        raise
    return app.sender.result_of(message, options)


async def asend(app: Celeriac, message: Message, take: Take, options: Mapping[str, Any]) -> AsyncResult[Any]:
    """As `send`, without blocking the event loop."""
    import asyncio  # which most programs do not need

    taking = _Taking(app, message.task, take)
    try:
        answer = await asyncio.to_thread(taking.run)
    except asyncio.CancelledError:
        taking.give_up()
        raise
    if answer.verdict == "duplicate":
        return _duplicate(app, message, take, answer.id, options)
    try:
        await app.sender.apublish(message, options)
    except BaseException as error:
        await asyncio.to_thread(_take_back, app, message.task, [(take, answer)], error)
        raise
    return app.sender.result_of(message, options)


# -- many at once -------------------------------------------------------------------------------------------------------


def take_all(app: Celeriac, calls: Sequence[Call]) -> None:
    """Take the keys of those calls that are to have one, in one round trip, and note the answers in them.

    Of several with the same key the first has it.  Raises as `send`; what was taken is given back then, as soon as that can be.
    """
    taking = [(call, call.take) for call in calls if call.take is not None]
    if taking:
        answers = _take(app, taking[0][0].message.task, [take for _call, take in taking])
        for (call, _), answer in zip(taking, answers, strict=True):
            call.answer = answer


def take_back_all(app: Celeriac, calls: Sequence[Call], error: BaseException | None) -> None:
    """Give back, in one round trip, what was taken for calls that could not be sent because of `error`."""
    taken = [(call.take, call.answer) for call in calls if call.take is not None and call.answer is not None]
    if taken:
        _take_back(app, calls[0].message.task, taken, error)


def existing_result(app: Celeriac, call: Call) -> AsyncResult[Any]:
    """Return the result of the call that holds the key of this one. Raises `DuplicateTask` if the task says so."""
    assert call.take is not None
    assert call.answer is not None
    return _duplicate(app, call.message, call.take, call.answer.id, call.options)


# -- keys ---------------------------------------------------------------------------------------------------------------


def read_mark(headers: Mapping[str, Any]) -> Mark | None:
    """Return what a message's header says of its key; None without one, or where it can't be read."""
    found = headers.get(UNIQUE)
    if found is None:
        return None
    try:
        return convert(found, Mark)
    except msgspec.ValidationError:
        return None


def _parts(
    task_name: str, unique: Unique, binder: Binder | None, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Any:
    """Return what makes a call the same as another; None when the function of `by` says that this one is like no other."""
    if binder is None:
        bound_args, bound_kwargs = tuple(args), dict(kwargs)
        arguments: dict[str, Any] = {**kwargs} if unique.names else {"args": bound_args, "kwargs": bound_kwargs}
    else:
        try:
            bound = binder.signature.bind(*args, **kwargs)
        except TypeError as error:
            raise ArgumentError(f"calling {task_name!r}: no unique key without fitting arguments: {error}") from None
        bound.apply_defaults()
        bound_args, bound_kwargs, arguments = bound.args, bound.kwargs, dict(bound.arguments)
    if callable(unique.by):
        try:
            return unique.by(*bound_args, **bound_kwargs)
        except Exception as error:  # whatever the program's function does, the call is what can't be made
            raise ArgumentError(
                f"calling {task_name!r}: the function of Unique(by=...) raised {type(error).__name__}: {error}"
            ) from error
    if unique.names is None:
        return arguments
    try:
        return [arguments[name] if name in arguments else bound_kwargs[name] for name in unique.names]
    except KeyError as missing:
        raise ArgumentError(
            f"calling {task_name!r}: Unique(by={missing.args[0]!r}) names no argument of this call; give it by its name"
        ) from None


def _hold_s(app: Celeriac, message: Message) -> float:
    """Return how long the key is held while the message waits: as long as it may wait."""
    now = app.time_source.time()
    expires = to_timestamp(message.headers.get("expires"), "expires")
    if expires is not None:
        return min(max(1.0, expires - now), LONGEST_S)
    delay_s = 0.0 if message.not_before is None else max(0.0, message.not_before - now)
    return min(delay_s + app.settings.task_unique_expires_s, LONGEST_S)


class _Taking:
    """Takes a key in a thread; when nobody waits for it any more, it is given back there."""

    def __init__(self, app: Celeriac, task_name: str, take: Take) -> None:
        self._app, self._task_name, self._take = app, task_name, take
        self._deciding = threading.Lock()
        self._answer: Answer | None = None
        self._given_up = False

    def run(self) -> Answer:
        """Take the key; blocking."""
        (answer,) = _take(self._app, self._task_name, [self._take])
        with self._deciding:
            self._answer = answer
            given_up = self._given_up
        if given_up:
            self._give_back(answer)
        return answer

    def give_up(self) -> None:
        """Have the key given back as soon as it is taken, or now in a thread of its own."""
        with self._deciding:
            self._given_up = True
            answer = self._answer
        if answer is not None:
            threading.Thread(target=self._give_back, args=(answer,), name="celeriac-unique").start()

    def _give_back(self, answer: Answer) -> None:
        _take_back(self._app, self._task_name, [(self._take, answer)], None)


class _Owed:
    """Steps of this process that could not be made: they go ahead of its next one."""

    def __init__(self) -> None:
        self.steps: deque[Step] = deque(maxlen=OWED_MAX)

    def close(self) -> None:
        """There is nothing to close."""


def _owed(app: Celeriac) -> deque[Step]:
    owed: _Owed = app._connections.part("unique, owed", _Owed)
    return owed.steps


def _take(app: Celeriac, task_name: str, takes: Sequence[Take]) -> list[Answer]:
    try:
        return _apply(app, task_name, takes)
    except BaseException as error:
        # The store may have made the steps without our hearing of it, or may make them yet.
        if isinstance(error, CoordinationUnavailable) or not isinstance(error, Exception):
            _owed(app).extend(Undo(take.key, take.id) for take in takes)
        raise


def _apply(app: Celeriac, task_name: str, steps: Sequence[Step]) -> list[Answer]:
    waiting = _owed(app)
    owed = [waiting.popleft() for _ in range(len(waiting))] if waiting else []
    try:
        return unique_store(app, task_name).apply([*owed, *steps], app.settings.publish_timeout_s)[len(owed) :]
    except BaseException:
        waiting.extendleft(reversed(owed))
        raise


def _duplicate(
    app: Celeriac, message: Message, take: Take, existing_id: str, options: Mapping[str, Any]
) -> AsyncResult[Any]:
    if take.on_conflict == "raise":
        raise DuplicateTask(
            f"task {message.task!r} was not sent: it is unique, and the call {existing_id} has the same key",
            existing_id,
        )
    running = running_request()
    if running is not None and options.get("add_to_parent", True) and getattr(running.owner, "trail", True):
        running.children.append(result_tuple(existing_id))
    result = AsyncResult[Any](existing_id, app=app, ignored=bool(message.headers["ignore_result"]))
    result.was_duplicate = True
    return result


def _take_back(
    app: Celeriac, task_name: str, taken: Sequence[tuple[Take, Answer]], error: BaseException | None
) -> None:
    """Give keys back after a failed publish, or hold them only for a while when nobody knows whether it failed."""
    steps: list[Step] = []
    for take, answer in reversed(taken):  # what was replaced is restored in the opposite order
        if answer.verdict == "duplicate":
            continue
        if isinstance(error, PublishTimeout):
            steps.append(Hold(take.key, take.id, min(UNSURE_S, take.hold_s), exactly=True))
        else:
            steps.append(Undo(take.key, take.id, answer.id))
    if not steps:
        return
    started = time.monotonic()
    try:
        _apply(app, task_name, steps)
    except CeleriacError as trouble:
        _owed(app).extend(steps)
        first = taken[0][0]
        more = f" (and {len(steps) - 1} more)" if len(steps) > 1 else ""
        logger.warning(
            "task %s[%s]%s was not sent, and its unique key could not be given back in %.1f s (%s): it is held until this"
            " process calls another unique task, or for %g s",
            task_name,
            first.id,
            more,
            time.monotonic() - started,
            trouble,
            first.hold_s,
        )
