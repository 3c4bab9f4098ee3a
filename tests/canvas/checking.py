"""What must be true when canvases have been run: each of their ends, what ran and how often, and that nothing is left of them."""

from __future__ import annotations

import contextlib
import json
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct

from celeriac.client.result import AsyncResult
from celeriac.exceptions import TimeoutError as NotInTime
from celeriac.torture.journal import END, START, Journal, Line
from celeriac.torture.servers.service import ServiceError, wait_until
from tests.canvas.expected import Error, Expected, Leaf, Node, Value, alike, work_out
from tests.canvas.functions import ERRBACK
from tests.canvas.places import CanvasPlace
from tests.canvas.trees import Canvas, Does, calls_in

SHOWN_MAX = 8


class Sent(Struct):
    """A canvas on its way."""

    canvas: Canvas
    expected: Expected
    result: Any


def send(place: CanvasPlace, canvases: Sequence[Canvas]) -> list[Sent]:
    """Send them all and wait for none."""
    return [Sent(canvas, work_out(canvas), place.builder.send(canvas)) for canvas in canvases]


def wait_for_most(sent: Sequence[Sent], deadline_s: float) -> None:
    """Return when nine of ten have ended, or the time is up."""

    def few_left() -> bool:
        return sum(not one.result.ready() for one in sent) * 10 <= len(sent)

    with contextlib.suppress(ServiceError):
        wait_until(few_left, "nine of ten have ended", deadline_s=deadline_s, every_s=0.2)


def check_results(sent: Sequence[Sent], deadline_s: float) -> None:
    """See every canvas end within the deadline, which is one for all, with its value or its error."""
    until = time.monotonic() + deadline_s
    wrong = [f"{one.canvas}\n    {what}" for one in sent for what in _wrong_with(one, until)]
    assert not wrong, _listed(f"{len(wrong)} of {len(sent)} canvases did not end as they should", wrong)


def _wrong_with(one: Sent, until: float) -> Iterator[str]:
    expected = one.expected
    try:
        got = one.result.get(timeout=max(0.05, until - time.monotonic()))
    except NotInTime as error:
        yield f"has not ended: {error}"
        return
    except Exception as error:
        if not any(alike(error, possible) for possible in expected.errors):
            yield f"raised {error!r}, not {_shown(expected)}"
    else:
        if not (isinstance(expected.value, Value) and got == expected.value.value):
            yield f"gave {got}, not {_shown(expected)}"
    # What an earlier failure leads to may be told before it has come about.
    while not one.result.ready() and time.monotonic() < until:
        time.sleep(0.01)
    yield from _wrong_records(one.result, expected.result)


def _wrong_records(result: Any, node: Node) -> Iterator[str]:
    """Look at the results one by one: each has its own end, whatever is told first."""
    if isinstance(node, Leaf):
        if not isinstance(result, AsyncResult):
            yield f"{result!r} stands for one task"
            return
        expected, got = node.outcome, result.result
        if isinstance(expected, Value) and not (result.state == "SUCCESS" and got == expected.value):
            yield f"is stored as {result.state} {got!r}, not as {expected.value}"
        if isinstance(expected, Error):
            state = "REVOKED" if expected.revoked else "FAILURE"
            if not (result.state == state and isinstance(got, BaseException) and alike(got, expected.exc)):
                yield f"is stored as {result.state} {got!r}, not as {state} {expected.exc!r}"
        return
    if isinstance(result, AsyncResult) or len(result.results) != len(node.members):
        yield f"{result!r} stands for a group of {len(node.members)}"
        return
    for inner, member in zip(result.results, node.members, strict=True):
        yield from _wrong_records(inner, member)


def _shown(expected: Expected) -> str:
    return str(expected.value.value) if isinstance(expected.value, Value) else " or ".join(map(repr, expected.errors))


def check_runs(journal: Journal, sent: Sequence[Sent], deadline_s: float, *, killed: bool = False) -> None:
    """See that everything ran that had to, with what it had to get, and under one id.

    Without kills also: so often as it had to and no more.  With them a task may run again that was running; it is the same message, or
    the same one sent once more: never one with another id, and never with other arguments.
    """
    runs = {key: run for one in sent for key, run in one.expected.runs.items()}
    errbacks = sum((one.expected.errbacks for one in sent), Counter[str]())
    due = set(runs) | set(errbacks)

    def missing() -> set[str]:
        return due - {line.key for line in journal.lines if line.event in (END, ERRBACK)}

    try:
        wait_until(lambda: not missing(), "everything has run", deadline_s=deadline_s)
    except ServiceError:
        raise AssertionError(_listed("these never ran", _with_canvas(sorted(missing()), sent))) from None
    starts, ids, called = defaultdict[str, list[Line]](list), defaultdict[str, set[Any]](set), Counter[str]()
    for line in journal.lines:
        if line.event == START:
            starts[line.key].append(line)
            ids[line.key].add(line.more["id"])
        elif line.event == ERRBACK:
            called[line.key] += 1
            ids[line.key].add(line.more["failed"])
    wrong = [f"{key} ran {len(starts[key])} times, and not at all was expected" for key in set(starts) - set(runs)]
    wrong += [f"errback {key} was called {called[key]} times, and not at all was expected" for key in set(called) - due]
    wrong += [f"{key} ran under the ids {ids[key]}" for key in ids if len(ids[key]) > 1]
    for key, run in runs.items():
        wrong += [
            f"{key} got {line.more['args']}, not {run.args}" for line in starts[key] if line.more["args"] != run.args
        ]
        if not killed and len(starts[key]) != run.times:
            wrong.append(f"{key} ran {len(starts[key])} times, not {run.times}")
    if not killed:
        wrong += [
            f"errback {key} was called {called[key]} times, not {n}" for key, n in errbacks.items() if called[key] != n
        ]
    assert not wrong, _listed(f"{len(wrong)} things ran as they should not", _with_canvas(wrong, sent))


def check_nothing_left(place: CanvasPlace, sent: Sequence[Sent], deadline_s: float) -> None:
    """See that no message waits, no chord is open, and nothing was parked but what had to be."""

    def idle() -> bool:
        depth = place.depth()
        return not (depth.ready or depth.delayed or depth.claimed)

    wait_until(idle, f"the queue is empty: {place.depth()}", deadline_s=deadline_s, every_s=0.05)
    with contextlib.suppress(ServiceError):
        wait_until(lambda: not place.app._reader.chords(), "all chords are closed", deadline_s=deadline_s, every_s=0.05)
    assert not place.app._reader.chords(), "all chords are closed"
    to_park = {
        call.key for one in sent for call in calls_in(one.canvas.tree) if call.does in (Does.REJECT, Does.UNKNOWN)
    }
    for letter in place.dead_letters():
        assert letter.message is not None
        assert any(f"'key': '{key}'" in letter.message.headers["kwargsrepr"] for key in to_park), letter.reason


def check_nothing_ran_after_its_end(place: CanvasPlace, sent: Sequence[Sent]) -> None:
    """See that no task began when it had been settled: where that is one step, a message that is settled never comes again."""
    starts: dict[str, list[Line]] = defaultdict(list)
    for line in place.journal.of(START):
        if line.more["id"] is not None:
            starts[line.more["id"]].append(line)
    wrong = []
    for task_id, document in place.app._reader.fetch(list(starts)).items():
        ended = json.loads(document)["date_done"]
        if ended is None:
            wrong.append(f"{starts[task_id][0].key} has not ended: {document!r}")
            continue
        ended_at = datetime.fromisoformat(ended).timestamp()
        late = [line.at - ended_at for line in starts[task_id] if line.at > ended_at]
        if late:
            wrong.append(f"{starts[task_id][0].key} began {late} s after its end was stored")
    assert not wrong, _listed("tasks ran again after their end", _with_canvas(wrong, sent))


def begun_again(journal: Journal, sent: Sequence[Sent]) -> int:
    """Return how many runs there were beyond those that had to be."""
    return len(journal.of(START)) - sum(run.times for one in sent for run in one.expected.runs.values())


def _with_canvas(problems: Sequence[str], sent: Sequence[Sent]) -> list[str]:
    """Put to each problem the canvas to which the key in it belongs."""
    canvases = {str(one.canvas.seed): one.canvas for one in sent}
    told = []
    for problem in problems:
        seed = next(word for word in problem.split() if ":" in word).partition(":")[0]
        told.append(f"{problem}\n    of {canvases.get(seed)}")
    return told


def _listed(what: str, problems: Sequence[str]) -> str:
    more = f"\n... and {len(problems) - SHOWN_MAX} more" if len(problems) > SHOWN_MAX else ""
    return "\n".join([f"{what}:", *problems[:SHOWN_MAX]]) + more
