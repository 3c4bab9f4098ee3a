"""A program of a Celery user: it sends tasks and reads their results with Celery alone.

Reads requests from standard input, one JSON object a line: the name of one of the functions below and its arguments; answers
each with a line of its own.  `null` ends it.
"""

from __future__ import annotations

import json
import sys
import threading
import traceback
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from functools import cached_property
from typing import Any

from celery import chain, chord, group
from celery.app.control import Control
from kombu import Exchange, Queue
from kombu.pidbox import Mailbox

from tests.interop.celery_app import app, make_app
from tests.interop.functions import VALUES

TIMEOUT_S = 30.0


class OwnMailbox(Mailbox):
    """A mailbox for one question.

    Celery names its mailboxes by the place of an object in memory, so that names come again soon: then RabbitMQ may take the last
    mailbox away, as its connection ends, when the next one is listening at that name already.
    """

    @cached_property
    def oid(self) -> str:
        return str(uuid.uuid4())


class OwnControl(Control):
    """Asks each time by a mailbox of its own."""

    Mailbox = OwnMailbox


def task(name: str) -> Any:
    return app.tasks[f"shop.{name}"]


def how_it_ended(result: Any) -> dict[str, Any]:
    """Wait for a result and tell all that Celery's AsyncResult says of it."""
    seen = []

    def note(meta: dict[str, Any]) -> None:
        if meta["task_id"] == result.id:  # Celery tells of every result that this process still listens to
            seen.append(meta["status"])

    value = result.get(timeout=TIMEOUT_S, propagate=False, on_message=note)
    error = isinstance(value, BaseException)
    return {
        "id": result.id,
        "state": result.state,
        "value": None if error else value,
        "error": f"{type(value).__module__}.{value!r}" if error else None,
        "traceback": result.traceback,
        "seen": seen,
        "dated": isinstance(result.date_done, datetime),
    }


# -- what tests ask for -----------------------------------------------------------------------------------------------


def send(name: str, args: list[Any], **options: Any) -> str:
    """Send one task and do not wait."""
    result_id: str = task(name).apply_async(args, **options).id
    return result_id


def run(name: str, args: list[Any], **options: Any) -> dict[str, Any]:
    """Send one task and wait for its end."""
    return how_it_ended(task(name).apply_async(args, **options))


def run_by_name(name: str, args: list[Any]) -> dict[str, Any]:
    """As `run`, from a program that does not have the task."""
    return how_it_ended(app.send_task(name, args))


def run_with_protocol_1(name: str, args: list[Any], **options: Any) -> dict[str, Any]:
    with make_app(task_protocol=1) as old_app:
        return how_it_ended(old_app.tasks[f"shop.{name}"].apply_async(args, **options))


def run_at(name: str, args: list[Any], after_s: float, offset_minutes: int) -> dict[str, Any]:
    """Run at a time of another time zone."""
    moment = datetime.now(timezone(timedelta(minutes=offset_minutes))) + timedelta(seconds=after_s)
    return how_it_ended(task(name).apply_async(args, eta=moment))


def state_of(result_id: str) -> str:
    state: str = app.AsyncResult(result_id).state
    return state


def wait_for(result_id: str) -> dict[str, Any]:
    return how_it_ended(app.AsyncResult(result_id))


def run_revoked(name: str, key: str, countdown: float) -> dict[str, Any]:
    """Send, and change one's mind at once."""
    result = task(name).apply_async(kwargs={"key": key}, countdown=countdown)
    result.revoke()
    return how_it_ended(result)


def changed_values() -> list[str]:
    """Send each of `VALUES` there and back; return what came back different."""
    results = [task("echo").delay(value) for value in VALUES]
    pairs = [(sent, result.get(timeout=TIMEOUT_S)) for sent, result in zip(VALUES, results, strict=True)]
    return [f"{sent!r} -> {back!r}" for sent, back in pairs if repr(back) != repr(sent)]


def send_ignored(key: str) -> Any:
    """What Celery returns for a result that it said to ignore, by the task's own option and by the call's."""
    quiet = task("quiet").apply_async(kwargs={"key": key})
    told = task("note").apply_async(kwargs={"key": f"{key}-told"}, ignore_result=True)
    return [quiet.get(), told.get(), quiet.id, told.id]


def link(key: str) -> dict[str, Any]:
    """A task with a callback that takes its result, one that does not, and a third that is called when it fails."""
    callbacks = [task("note").s(key=key), task("note").si(key=f"{key}-immutable")]
    return how_it_ended(
        task("add").apply_async((1, 2), link=callbacks, link_error=task("note_id").s(key=f"{key}-error"))
    )


def link_error(key: str) -> dict[str, Any]:
    """A task that fails, with an errback that is a task with one argument, the failed task's id."""
    errback = task("note_id").s(key=key)
    return how_it_ended(task("fail").apply_async(("own",), link_error=errback, link=task("note").s(key=f"{key}-link")))


def link_error_of_three() -> str:
    """As `link_error`, with an errback that takes request, exception and traceback."""
    result_id: str = task("fail").apply_async(("own",), link_error=task("note_failure").s()).id
    return result_id


def run_chain(numbers: list[int]) -> dict[str, Any]:
    first, *others = numbers
    end = chain(task("add").s(first, first), *(task("add").s(number) for number in others), task("echo").s())()
    ended = how_it_ended(end)
    steps = []
    step = end.parent
    while step is not None:
        steps.append(step.get(timeout=TIMEOUT_S))
        step = step.parent
    return {**ended, "steps": steps}


def run_broken_chain(key: str) -> dict[str, Any]:
    """A chain whose first step fails, with an errback that Celery gives to each step."""
    steps = chain(task("fail").s("own"), task("note").s(key=f"{key}-second"))
    end = steps.apply_async(link_error=task("note_id").s(key=key))
    return how_it_ended(end.parent)


def run_stamped_chain() -> dict[str, Any]:
    """A chain whose second step has a stamp of its own besides."""
    step, second = task("stamped"), task("stamped").s()
    second.stamp(own=1)
    steps = chain(step.s(), second, step.s())
    steps.stamp(tenant=["acme", "ä"])
    return how_it_ended(steps.apply_async())


def run_group(count: int) -> list[Any]:
    members = group(task("add").s(number, number) for number in range(count)).apply_async()
    values: list[Any] = members.get(timeout=TIMEOUT_S)
    return values


def run_chord(calls: list[dict[str, Any]]) -> Any:
    """Note where each member of the header runs; the body gets their keys."""
    return (
        chord((task("note_where").s(**call) for call in calls), task("echo").s()).apply_async().get(timeout=TIMEOUT_S)
    )


def revoke(result_id: str, terminate: bool) -> None:
    app.control.revoke(result_id, terminate=terminate)


def limit_rate(name: str, rate: str) -> None:
    app.control.rate_limit(f"shop.{name}", rate)


def run_parent() -> dict[str, Any]:
    result = task("parent").delay()
    child_id = result.get(timeout=TIMEOUT_S)
    return {"told": child_id, "children": [child.id for child in result.children]}


def run_many(name: str, calls: list[dict[str, Any]]) -> list[Any]:
    results = [task(name).apply_async(kwargs=call) for call in calls]
    return [result.get(timeout=TIMEOUT_S) for result in results]


def send_by_priority(name: str, calls: list[list[Any]], max_priority: int) -> None:
    """Make a queue that knows priorities, and fill it; `calls` are pairs of key and priority."""
    queue = Queue(name, Exchange(name, "direct"), routing_key=name, queue_arguments={"x-max-priority": max_priority})
    for key, priority in calls:
        task("note").apply_async(kwargs={"key": key}, priority=priority, queue=queue)


# -- remote control and events ----------------------------------------------------------------------------------------


def ask(method: str, node: str, arguments: dict[str, Any] | None = None) -> Any:
    """Ask one worker by remote control and return what it answers."""
    # By a connection of its own: Celery may take a reply in on one that it has used before, and then not look there.
    with app.connection() as connection:
        replies = OwnControl(app).broadcast(
            method,
            arguments=arguments or {},
            destination=[node],
            connection=connection,
            reply=True,
            timeout=TIMEOUT_S,
            limit=1,
        )
    return replies[0][node]


def tell(method: str, arguments: dict[str, Any] | None = None, **options: Any) -> None:
    """Tell all workers, or some, and wait for no answer."""
    app.control.broadcast(method, arguments=arguments or {}, **options)


def answers_to(pattern: str, matcher: str) -> list[str]:
    """Ping the workers whose names match."""
    with app.connection() as connection:
        replies = OwnControl(app).broadcast(
            "ping", connection=connection, pattern=pattern, matcher=matcher, reply=True, timeout=1.0
        )
    return sorted(node for reply in replies or [] for node in reply)


state = app.events.State()
heard: list[dict[str, Any]] = []


def listen() -> None:
    """Receive events from now on."""
    is_open = threading.Event()

    def run() -> None:
        with app.connection() as connection:
            receiver = app.events.Receiver(connection, handlers={"*": take})
            receiver.on_consume_ready = lambda *_args, **_more: is_open.set()
            receiver.capture(limit=None, timeout=None, wakeup=False)

    def take(event: dict[str, Any]) -> None:
        state.event(event)
        heard.append(event)

    threading.Thread(target=run, daemon=True).start()
    is_open.wait(TIMEOUT_S)


def told_of(task_id: str) -> list[dict[str, Any]]:
    """Return the events about a task, in the order in which they came."""
    return [event for event in heard if event.get("uuid") == task_id]


def told_by(node: str) -> list[dict[str, Any]]:
    """Return the events of a worker itself."""
    return [event for event in heard if event["type"].startswith("worker-") and event["hostname"] == node]


def seen(task_id: str) -> dict[str, Any]:
    """Return what Celery's State made of the events about a task."""
    task = state.tasks.get(task_id)
    names = ("name", "state", "args", "kwargs", "result", "exception", "runtime")
    return {name: getattr(task, name) for name in names} if task is not None else {}


def main() -> None:
    functions: dict[str, Callable[..., Any]] = {
        name: value for name, value in globals().items() if getattr(value, "__module__", None) == __name__
    }
    answers, sys.stdout = sys.stdout, sys.stderr  # what anybody prints is no answer
    for line in sys.stdin:
        request = json.loads(line)
        if request is None:
            break
        try:
            answer = {"value": functions[request["function"]](*request["args"], **request["kwargs"])}
        except Exception:  # told to the test that asked
            answer = {"error": traceback.format_exc()}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
