"""Workflows as Celery's user guide has them on its page about the canvas. Not a line of it knows of Celeriac.

Imported it is the workers' app; run as a program it prints what came of each workflow, as JSON.
"""

import json
import operator
import os
import pickle
import re
import time
from functools import reduce

from celery import Celery, chain, chord, group, signature
from celery.canvas import Signature, StampingVisitor, maybe_signature
from celery.exceptions import ChordError
from celery.result import GroupResult, ResultSet, allow_join_result, result_from_tuple

app = Celery("workflows", broker=os.environ["SHOP_BROKER"], backend=os.environ["SHOP_BACKEND"])
WAIT = 30


def journal(*entry):
    with open(os.environ["SHOP_JOURNAL"], "a") as file:
        file.write(json.dumps(entry) + "\n")


@app.task
def add(x, y, z=0):
    return x + y + z


@app.task
def mul(x, y):
    return x * y


@app.task
def xsum(numbers):
    return sum(numbers)


@app.task
def show(value):
    return repr(value)


@app.task
def note(value, label="noted"):
    journal(label, value)
    return label


@app.task
def fail(*args):
    raise ValueError("no luck")


@app.task
def on_failure(request, exc, traceback, label="new style"):
    journal(label, request.task, type(exc).__name__)


@app.task
def on_failure_by_id(task_id):
    journal("old style", len(task_id))


@app.task(bind=True)
def instead(self, by):
    raise self.replace(maybe_signature(by, app=self.app))


@app.task(bind=True)
def more(self, number):
    self.add_to_chord(add.s(number, 1))
    return number


@app.task(bind=True)
def place(self, *args):
    request = self.request
    stamps = {name: request.stamps[name] for name in request.stamped_headers or ()}
    return [request.group is not None, request.group_index, request.delivery_info["routing_key"], stamps]


@app.task
def fan_out(number):
    with allow_join_result():
        return group(add.s(one, one) for one in range(number))().get(timeout=WAIT)


class ByName(StampingVisitor):
    def on_signature(self, sig, **headers):
        return {"kind": sig.name, "stamped_headers": ["kind"]}


# -- The program

report = {}


def get(result):
    return result.get(timeout=WAIT)


def value(workflow, *args, **options):
    return get(workflow.apply_async(args, **options))


def error(result, **options):
    try:
        return result.get(timeout=WAIT, **options)
    except Exception as exc:
        return re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "<id>", repr(exc))


def data(one):
    return json.loads(json.dumps(one))


def until(condition):
    deadline = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


def signatures():
    partial, callback = add.s(2), add.s(16)
    yield "by name", value(signature("workflows.add", args=(2, 2)))
    yield "by method", value(add.signature((2, 2), countdown=0))
    yield "star", get(add.s(2, 2).delay())
    yield "attributes", [data(add.s(2, 2, z=1).args), add.s(2, 2, z=1).kwargs, add.s(2, 2).set(countdown=1).options]
    yield "in place", [add.s(2, 2)(), partial(4), partial(4, z=1), ~add.s(1, 1)]
    yield "partial", [get(partial.delay(4)), value(partial, 4), value(partial.clone((1,)))]
    yield "keywords", [get(add.s(2, 2, z=5).apply_async(kwargs={"z": 1})), add.s(1).clone((2,), {"z": 3})()]
    yield "options", data([add.s(1).set(priority=1).clone(queue="q"), add.si(1, 1).clone((5,)), add.s(1).replace((3,))])
    yield "immutable", [value(add.si(2, 2), 9), add.s(1).set(immutable=True).immutable, mul.subtask((1, 1)).immutable]
    yield "applied", [one.apply().get() for one in (add.s(2, 2), add.s(1, 1) | mul.s(5), group(add.s(1, 1)))]
    yield "kept", [add.s(1) == pickle.loads(pickle.dumps(add.s(1))), signature(add.s(2, 2)) == add.s(2, 2)]
    yield "links", data(add.s(1, 1).on_error(note.s()).set(link=[callback]))
    yield "unlinked", [repr(one) for one in (add.s(1, 1).set(link=[mul.s(2)])).flatten_links()]
    yield "types", [repr(maybe_signature(dict(partial), app)), maybe_signature(None), isinstance(partial, Signature)]
    frozen = add.s(1, 1).set(priority=4)
    known = frozen.freeze()
    yield "frozen", [known.id == frozen.id, frozen.apply_async().id == known.id, get(known)]


def shapes():
    long = chain(add.s(1, 1), group(mul.s(2), chain(add.s(1), mul.s(3))), xsum.s())
    for one in (add.s(1, 1, z=2), add.s(1, 1) | mul.s(2), long, group(add.s(1, 1), mul.s(2, 2)) | xsum.s()):
        yield repr(data(one)), [value(signature(data(one), app=app)), value(one)]
    yield "shown", [repr(mul.map([1])), repr(add.starmap([[1, 2]])), repr(group(add.s(1, 1))), repr(add.si(1, z=2))]
    yield "reduced", value(reduce(operator.or_, [add.s(1, 1), mul.s(2), mul.s(3)]))
    yield "merged", data([chain(chain(add.s(1), add.s(2)), add.s(3)), group(add.s(1), add.s(2)) | xsum.s() | mul.s(2)])
    yield "unchained", data(chain(add.s(1, 1), mul.s(2)).set(link=note.s(), link_error=on_failure.s()).unchain_tasks())


def chains():
    result = chain(add.s(4, 4), mul.s(8), mul.s(10))()
    yield "chain", [get(result), result.parent.get(), result.parent.parent.get(), result.parent.parent.parent]
    yield "children", [one[1] for one in result.parent.parent.collect()]
    yield "operator", [value(add.s(2, 2) | add.s(4) | add.s(8)), value(add.s(2) | mul.s(3), 5)]
    yield "immutable steps", value(add.si(2, 2) | add.si(4, 4) | add.s(1))
    yield "one", [value(chain(add.s(1, 1))), chain().apply_async()]
    yield "chain of chains", value(chain(chain(add.s(1, 1), mul.s(2)), chain(mul.s(3), add.s(1))))
    lost = (fail.s() | add.s(1) | mul.s(2)).apply_async()
    yield "failed", [error(lost), error(lost, follow_parents=False), lost.failed(), lost.parent.parent.state]
    yield "failed, too", error(lost.parent, follow_parents=False)
    yield "last id", chain(add.s(1, 1), add.s(2)).apply_async(task_id=f"last-{os.getpid()}").id == f"last-{os.getpid()}"
    tree = result_from_tuple(data(result.as_tuple()), app=app)
    yield "as tuple", [tree.id == result.id, tree.parent.get(), tree == result]
    result.forget()
    yield "forgotten", [result.state, result.parent.state]


def groups():
    result = group(add.s(i, i) for i in range(10)).apply_async()
    yield "group", [get(result), result.join(), result.join_native(), result.results[3].get()]
    yield "state", [result.ready(), result.successful(), result.failed(), result.waiting(), result.completed_count()]
    yield "iterated", [sorted(done["result"] for _, done in result.iter_native()), [one.get() for one in result]]
    seen = []
    result.join(callback=lambda task_id, number: seen.append(number))
    yield "callback", seen
    result.save()
    again = GroupResult.restore(result.id, app=app)
    yield "restored", [again == result, again.id == result.id, get(again)[-1], again.delete()]
    yield "called", [get(group(add.s(2, 2), mul.s(3, 3))()), get(group([add.s(2), mul.s(3)])(5))]
    yield "nested", [value(group(add.s(1, 1), group(add.s(2, 2), add.s(3, 3)))), value(group([]))]
    yield "of chains", value(group(add.s(1, 1) | mul.s(2), chain(add.s(1, 1), group(mul.s(2), mul.s(3))), add.s(0, 0)))
    broken = group(add.s(1, 1), fail.s()).apply_async()
    yield "failed", [error(broken), broken.failed(), broken.successful(), repr(broken.get(propagate=False))]
    results = ResultSet([add.delay(1, 1), add.delay(2, 2)])
    results.add(add.delay(3, 3))
    yield "set", [get(results), results.completed_count()]
    yield "skew", [one.options for one in group(add.s(i, i) for i in range(3)).skew(start=0, step=0.1).tasks]
    yield "inside a task", get(fan_out.delay(3))


def chords():
    yield "chord", [get(chord((add.s(i, i) for i in range(10)), xsum.s())()), chord([add.s(2, 2)])(show.s()).get()]
    yield "group in chain", value(chain(add.s(4), group(mul.s(2), mul.s(3)), xsum.s(), mul.s(10)), 1)
    yield "chord in chain", value(add.s(1, 1) | chord([mul.s(2), mul.s(3)], show.s()) | show.s())
    yield "header of chains", value(chord([add.s(1, 1) | mul.s(2), add.s(1, 1) | group(mul.s(3), mul.s(4))], show.s()))
    yield "chord in header", value(chord([chord([add.s(1, 1), mul.s(2, 3)], xsum.s()), add.s(3, 3)], show.s()))
    yield (
        "body of several",
        [value(chord([add.s(1, 1)], body)) for body in (show.s() | show.s(), group(show.s(), xsum.s()))],
    )
    yield "empty", [value(chord([], show.s())), value(group(add.s(1, 1), add.s(2, 2)) | group(xsum.s(), show.s()))]
    result = chord([add.s(1, 1), add.s(2, 2)], xsum.s()).apply_async()
    yield "result", [get(result), get(result.parent), type(result.parent).__name__]
    lost = chord([add.s(2, 2), fail.s()], xsum.s().on_error(on_failure.s(label="chord"))).apply_async()
    yield "failed", [error(lost), error(lost, follow_parents=False), error(lost.parent), lost.state]
    yield "is a ChordError", isinstance(lost.get(propagate=False), ChordError)
    behind = chain(chord([add.s(2, 2), fail.s()], xsum.s()), mul.s(2)).apply_async()
    yield "failed chain", [error(behind), behind.parent is not None]
    yield "options", value(chord([place.s(), place.s()], show.s()), queue="celery", priority=3)
    yield "given to the call", value(chord([add.s(1), mul.s(3)], show.s()), 5)
    yield "by steps", value((group(add.s(i, i) for i in range(4)) | xsum.s()).clone())
    whole = chord([add.s(1, 1)], show.s())
    known = whole.freeze()
    yield "frozen", [whole.apply_async().id == known.id, get(known)]


def many():
    yield "map", [value(xsum.map([[1, 2], [100]])), ~add.starmap([(1, 2), [3, 4]])]
    yield "chunks", value(add.chunks(zip(range(9), range(9)), 4))
    group_of = add.chunks([(i, i) for i in range(5)], 2).group()
    yield "chunks' group", [value(group_of), len(group_of), value(group_of | show.s())]
    yield "in a chord", value(chord([xsum.map([[1, 2]]), add.s(1, 1)], show.s()))


def callbacks():
    value(add.s(2, 2), link=note.s("link"))
    value(add.s(2, 3).set(link=[note.s("one of two"), note.si("immutable", "two of two")]))
    value(add.s(1, 1) | mul.s(2).set(link=note.s("in a chain")))
    value(add.s(1, 1) | mul.s(3), link=note.s("of a chain"))
    value(add.s(5, 5), link=chain(add.s(1), note.s("chain as callback")))
    value(chord([add.s(1, 1), add.s(2, 2)], xsum.s()), link=note.s("of a chord"))
    error(fail.apply_async(link_error=[on_failure.s(), on_failure_by_id.s(), on_failure.s(label="with keyword")]))
    error(fail.s().on_error(group(note.si(1, "group as errback"), note.si(2, "group as errback"))).delay())
    error(chain(add.s(1, 1), fail.s(), mul.s(2)).on_error(on_failure.s(label="chain")).delay())
    errbacks = chord([fail.s(), add.s(1, 1)], xsum.s())
    errbacks.link_error(on_failure_by_id.s())
    error(errbacks.delay(), follow_parents=False)
    until(lambda: len(open(os.environ["SHOP_JOURNAL"]).readlines()) >= 15)
    return ()


def at_run_time():
    yield "replaced", [value(instead.s(add.s(1, 1))), value(instead.s(add.s(1, 1) | mul.s(2)) | add.s(1))]
    yield "replaced by a group", value(instead.s(group(add.s(1, 1), add.s(2, 2))) | show.s())
    yield "replaced by a chord", value(chain(instead.s(chord([add.s(1, 1)], show.s())), show.s()))
    yield "replaced in a header", value(chord([instead.s(add.s(1, 1)), add.s(3, 3)], xsum.s()))
    yield "added", value(chord([more.s(1), more.s(10)], xsum.s()))
    yield "not in a chord", error(more.delay(1)).startswith("ValueError(")


def stamps():
    stamped = chain(place.s(), group(place.si(), place.si()))
    stamped.stamp(tenant="acme")
    yield "stamps", value(stamped)
    visited = group(place.s(), add.s(1, 1) | place.si())
    visited.stamp(ByName())
    yield "visitor", [value(visited), data(visited.tasks[0]["options"])]
    appended = add.s(1, 1)
    appended.stamp(a="1", b=[2])
    appended.stamp(a="0", append_stamps=True)
    yield "appended", {name: appended.options[name] for name in sorted(appended.options["stamped_headers"])}


if __name__ == "__main__":
    for part in (signatures, shapes, chains, groups, chords, many, callbacks, at_run_time, stamps):
        report[part.__name__] = dict(part())
    print(json.dumps(report, indent=1, sort_keys=True))
