"""What stamping writes into signatures and messages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from celeriac import Celeriac
from celeriac.canvas import GroupStampingVisitor, Signature, StampingVisitor, chain, chord, group
from celeriac.client.calls import build_message, message_from_invoke
from celeriac.client.canvas.nodes import all_calls, listed
from celeriac.client.canvas.reading import read
from celeriac.client.stamps import with_stamps
from celeriac.core.effects import Invoke
from celeriac.core.message import Message
from celeriac.exceptions import ArgumentError, EncodeError

Visits = list[tuple[str, str, list[str]]]


@pytest.fixture(scope="module")
def app() -> Iterator[Celeriac]:
    app = Celeriac("stamping", broker="memory://", backend="memory://", set_as_current=False)
    app.task(name="note")(lambda *_args: None)
    yield app
    app.close()


class Told(StampingVisitor):
    """Says what it was told to say, and keeps in which order it was asked."""

    def __init__(self, **says: dict[str, Any]) -> None:
        self.says = says
        self.visits: Visits = []

    def _visit(self, method: str, sig: Signature, headers: dict[str, Any], otherwise: dict[str, Any]) -> dict[str, Any]:
        self.visits.append((method, sig.task, headers.get("stamped_headers", [])))
        return self.says.get(method, otherwise)

    def on_signature(self, sig: Signature, **headers: Any) -> dict[str, Any]:
        return self._visit("signature", sig, headers, {})

    def on_chain_start(self, chain: chain, **headers: Any) -> dict[str, Any]:
        return self._visit("chain", chain, headers, super().on_chain_start(chain, **headers))

    def on_chain_end(self, chain: chain, **headers: Any) -> None:
        self._visit("chain end", chain, headers, {})

    def on_group_start(self, group: group, **headers: Any) -> dict[str, Any]:
        return self._visit("group", group, headers, super().on_group_start(group, **headers))

    def on_group_end(self, group: group, **headers: Any) -> None:
        self._visit("group end", group, headers, {})

    def on_chord_header_start(self, sig: chord, **header: Any) -> dict[str, Any]:
        return self._visit("header", sig, header, super().on_chord_header_start(sig, **header))

    def on_chord_header_end(self, sig: chord, **header: Any) -> None:
        self._visit("header end", sig, header, {})
        super().on_chord_header_end(sig, **header)

    def on_chord_body(self, sig: chord, **header: Any) -> dict[str, Any]:
        return self._visit("body", sig, header, super().on_chord_body(sig, **header))

    def on_callback(self, callback: Signature, **header: Any) -> dict[str, Any]:
        return self._visit("callback", callback, header, super().on_callback(callback, **header))

    def on_errback(self, errback: Signature, **header: Any) -> dict[str, Any]:
        return self._visit("errback", errback, header, super().on_errback(errback, **header))


def a() -> Signature:
    return Signature("a")


def b() -> Signature:
    return Signature("b")


def c() -> Signature:
    return Signature("c")


def own(options: dict[str, Any]) -> dict[str, Any]:
    return {name: options[name] for name in options.get("stamped_headers", ())}


def stamps_of(workflow: Signature) -> dict[str, dict[str, Any]]:
    """The stamps of each call in a workflow, by its task; of callbacks and errbacks, too."""
    node = read(workflow)
    assert node is not None
    found = {}
    for call in all_calls(node):
        found[call.name] = own(call.options)
        for option in ("link", "link_error"):
            for one in listed(call.options.get(option)):
                found |= stamps_of(Signature.from_dict(one))
    return found


# -- of one call ------------------------------------------------------------------------------------------------------


def test_stamps_stand_among_the_options_as_in_celery() -> None:
    signature = a()
    assert signature.stamp(tenant="acme", jobs=("x", "y"), tags={"b", "a"}) is signature
    assert signature.options == {
        "tenant": "acme",
        "jobs": ["x", "y"],
        "tags": ["a", "b"],
        "stamped_headers": ["tenant", "jobs", "tags"],
    }


def test_none_change_nothing() -> None:
    assert a().stamp() == a()
    assert a().stamp(Told()) == a()


def test_a_second_stamp_takes_the_place_of_the_first_or_comes_before_it() -> None:
    assert a().stamp(k=1).stamp(j=2, k=3).options == {"k": 3, "j": 2, "stamped_headers": ["k", "j"]}
    assert a().stamp(k=1).stamp(append_stamps=True, k=3).options == {"k": [3, 1], "stamped_headers": ["k"]}
    assert a().stamp(k=[1, 2]).stamp(append_stamps=True, k=[3]).options["k"] == [3, 1, 2]
    assert a().stamp(k=1).stamp(append_stamps=True, j=3).options == {"k": 1, "j": 3, "stamped_headers": ["k", "j"]}


def test_stamps_that_are_given_with_the_call_come_besides() -> None:
    signature = a().stamp(k=1)
    assert signature.clone(stamped_headers=["j"], j=2).options == {"k": 1, "j": 2, "stamped_headers": ["k", "j"]}
    assert signature.clone().stamp(j=2) != signature
    assert own(signature.options) == {"k": 1}


# -- of workflows -----------------------------------------------------------------------------------------------------


def test_every_call_of_a_workflow_gets_them() -> None:
    workflow = chain(
        a().set(link=[b().set(link=Signature("b2"))], link_error=Signature("error")),
        group(c(), Signature("d")),
        chord([Signature("e"), chain(Signature("f"), Signature("g"))], chain(Signature("h"), Signature("i"))),
    )
    assert workflow.stamp(k="v") is workflow
    names = {"a", "b", "b2", "error", "c", "d", "e", "f", "g", "h", "i"}
    assert stamps_of(workflow) == {name: {"k": "v"} for name in names}
    assert Signature.from_dict(dict(workflow)) == workflow


def test_the_links_of_a_workflow_as_a_whole_get_them() -> None:
    for workflow in (chain(a(), b(), link=c(), link_error=Signature("error")), chord([a()], b(), link=c())):
        assert stamps_of(workflow.stamp(k=1))["c"] == {"k": 1}


def test_a_signature_that_is_part_of_two_workflows_is_stamped_in_one() -> None:
    shared, callback = a(), c()
    shared.link(callback)
    for make in (lambda: chain(shared, b()), lambda: group([shared, b()]), lambda: chord([b()], shared)):
        stamped, other = make().stamp(k=1), make()
        assert stamps_of(stamped) == {"a": {"k": 1}, "b": {"k": 1}, "c": {"k": 1}}
        assert stamps_of(other) == {"a": {}, "b": {}, "c": {}}


def test_calls_of_many_items_are_stamped_as_one_task() -> None:
    items = [(1,), (2,)]
    app = Celeriac("maps", broker="memory://", set_as_current=False)
    task = app.task(name="a")(lambda x: x)
    assert stamps_of(task.map(items).stamp(k=1)) == {"celery.map": {"k": 1}}
    assert stamps_of(task.chunks(items, 1).stamp(k=1)) == {"celery.starmap": {"k": 1}}
    app.close()


def test_stamps_of_the_whole_go_where_other_options_go() -> None:
    assert stamps_of(chain(a(), b()).set(stamped_headers=["k"], k=1)) == {"a": {"k": 1}, "b": {}}
    assert stamps_of(group(a(), b(), stamped_headers=["k"], k=1)) == {"a": {"k": 1}, "b": {"k": 1}}
    both = chain(a(), b()).stamp(j=2).set(stamped_headers=["k"], k=1)
    assert stamps_of(both) == {"a": {"j": 2, "k": 1}, "b": {"j": 2}}


# -- visitors ---------------------------------------------------------------------------------------------------------


def test_a_visitor_sees_everything_in_celery_s_order() -> None:
    visitor = Told()
    chain(
        a().set(link=b().set(link=Signature("b2")), link_error=Signature("error")),
        chord([c(), Signature("d")], chain(Signature("e"), Signature("f"))),
    ).stamp(visitor)
    assert [visit[:2] for visit in visitor.visits] == [
        ("chain", "celery.chain"),
        ("callback", "b"),
        ("callback", "b2"),
        ("signature", "b2"),
        ("signature", "b"),
        ("errback", "error"),
        ("signature", "error"),
        ("signature", "a"),
        ("group", "celery.group"),
        ("header", "celery.chord"),
        ("signature", "c"),
        ("signature", "d"),
        ("header end", "celery.chord"),
        ("group end", "celery.group"),
        ("body", "celery.chord"),
        ("chain", "celery.chain"),
        ("signature", "e"),
        ("signature", "f"),
        ("chain end", "celery.chain"),
        ("chain end", "celery.chain"),
    ]


@pytest.mark.parametrize(
    ("method", "stamped"),
    [
        ("signature", {"a", "b", "c", "d", "error", "e"}),
        ("chain", {"a", "b", "c", "d", "error", "e"}),
        ("group", {"b", "c", "d", "error"}),  # a visitor that defines no start of a header
        ("header", {"b", "c", "d", "error"}),
        ("body", {"d"}),
        ("callback", {"e"}),
        ("errback", {"error"}),
    ],
)
def test_what_a_visitor_returns_is_put_on_everything_inside(method: str, stamped: set[str]) -> None:
    workflow = chain(
        a().set(link=Signature("e")), chord([b().set(link_error=Signature("error")), c()], Signature("d"))
    ).stamp(Told(**{method: {"k": method}}))
    found = stamps_of(workflow)
    assert {name for name in found if found[name]} == stamped
    assert all(found[name] == {"k": method} for name in stamped)


def test_a_visitor_is_told_the_stamps_so_far() -> None:
    visitor = Told(chain={"inner": 1, "note": "for later", "stamped_headers": ["inner"]}, signature={"own": 2})
    workflow = chain(a(), b()).stamp(visitor, outer=0)
    assert visitor.visits == [
        ("chain", "celery.chain", ["outer"]),
        ("signature", "a", ["outer", "inner"]),
        ("signature", "b", ["outer", "inner"]),
        ("chain end", "celery.chain", ["outer", "inner"]),
    ]
    assert stamps_of(workflow) == {name: {"outer": 0, "inner": 1, "own": 2} for name in "ab"}


def test_what_is_not_listed_is_an_option_or_nothing() -> None:
    says = {"k": 1, "priority": 3, "headers": {"x": "y"}, "unheard": 2, "stamped_headers": ["k"]}
    assert a().stamp(Told(signature=says)).options == {
        "k": 1,
        "priority": 3,
        "headers": {"x": "y"},
        "stamped_headers": ["k"],
    }


def test_a_visitor_has_to_say_what_a_call_gets() -> None:
    with pytest.raises(TypeError, match="on_signature"):
        StampingVisitor()  # type: ignore[abstract]


def test_groups_are_stamped_with_their_ids() -> None:
    inner = group(b(), c())
    workflow = chain(a(), group(chain(Signature("d"), inner), Signature("e")), Signature("f"))
    workflow.stamp(visitor := GroupStampingVisitor())
    found = stamps_of(workflow)
    outer_id = found["e"]["groups"][0]
    assert (found["a"], found["f"], visitor.groups) == ({}, {}, [])
    assert found["d"] == found["e"] == {"groups": [outer_id]}
    assert found["b"] == found["c"]
    assert len(found["b"]["groups"]) == 2
    assert found["b"]["groups"][0] == outer_id
    assert stamps_of(group(a()).stamp(GroupStampingVisitor(["batch-7"])))["a"]["groups"][0] == "batch-7"


def test_the_id_that_a_group_is_stamped_with_is_its_own(app: Celeriac) -> None:
    members = group(app.tasks["note"].s(), app.tasks["note"].s()).stamp(GroupStampingVisitor())
    result = members.freeze()
    assert [own(member.options) for member in members.tasks] == [{"groups": [result.id]}] * 2
    header = chord([app.tasks["note"].s()], app.tasks["note"].s()).stamp(GroupStampingVisitor())
    parent = header.freeze().parent
    assert parent is not None
    assert own(header.tasks[0].options) == {"groups": [parent.id]}


# -- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stamps", "text"),
    [
        ({"task": "x"}, "stamp(): 'task' can't be a stamp, because it belongs to the message protocol"),
        ({"stamps": {}}, "'stamps' can't be a stamp"),
        ({"queue": "x"}, "'queue' can't be a stamp, because it is an option of calls"),
        ({"args": []}, "'args' can't be a stamp"),
        ({"producer": "x"}, "'producer' can't be a stamp"),
    ],
)
def test_names_that_mean_something_else(stamps: dict[str, Any], text: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        chain(a(), b()).stamp(**stamps)
    assert text in str(caught.value)


def test_names_of_a_visitor_that_mean_something_else() -> None:
    with pytest.raises(ArgumentError, match=r"Told\.on_chain_start\(\): 'id' can't be a stamp"):
        chain(a(), b()).stamp(Told(chain={"id": 1}))


@pytest.mark.parametrize(
    ("says", "text"),
    [
        ("k", r"Told\.on_signature\(\) returns a dict of stamps, not 'k'"),
        ({"stamped_headers": "k", "k": 1}, "stamped_headers is a list of the names of stamps, not 'k'"),
        ({"stamped_headers": ["k"]}, "stamped_headers names 'k', but there is no such stamp"),
        ({1: 2}, "stamped_headers is a list of the names of stamps"),
    ],
)
def test_what_a_visitor_must_not_return(says: Any, text: str) -> None:
    with pytest.raises(TypeError, match=text):
        a().stamp(Told(signature=says))


# -- in messages ------------------------------------------------------------------------------------------------------


def message(app: Celeriac, **options: Any) -> Message:
    return build_message(app, "note", (), {}, options, app.tasks["note"].defaults)


def stamped(message: Message) -> tuple[Any, Any]:
    return message.headers.get("stamped_headers"), message.headers.get("stamps", {})


def test_a_message_carries_them_in_a_header_of_their_own(app: Celeriac) -> None:
    sent = message(app, stamped_headers=("k", "j"), k={"x"}, j=None, priority=3)
    assert stamped(sent) == (["k", "j"], {"k": ["x"], "j": None})
    assert "k" not in sent.headers
    assert stamped(message(app, priority=3)) == stamped(message(app)) == (None, {})
    assert stamped(message(app, stamped_headers=None)) == stamped(message(app, stamped_headers=[])) == (None, {})


def test_they_may_come_among_the_headers(app: Celeriac) -> None:
    sent = message(app, headers={"stamped_headers": ["k"], "stamps": {"k": "v", "unlisted": 1}, "tenant": "acme"})
    assert stamped(sent) == (["k"], {"k": "v"})
    assert sent.headers["tenant"] == "acme"
    as_header = message(app, headers={"stamped_headers": ["k"], "k": "v"})
    assert stamped(as_header) == (["k"], {"k": "v"})
    assert as_header.headers["k"] == "v"


@pytest.mark.parametrize(
    ("options", "kind", "text"),
    [
        (
            {"stamped_headers": ["k"]},
            ArgumentError,
            "calling task 'note': stamped_headers names 'k', but there is no such",
        ),
        ({"stamped_headers": "k", "k": 1}, TypeError, "stamped_headers is a list"),
        ({"stamped_headers": ["root_id"], "root_id": "x"}, ArgumentError, "'root_id' can't be a stamp"),
        ({"stamped_headers": ["k"], "k": 1, "j": 2}, TypeError, "unknown option 'j'"),
        ({"headers": {"stamped_headers": "k", "stamps": {}}}, TypeError, "among headers, stamped_headers is a list"),
        ({"headers": {"stamped_headers": ["k"], "stamps": {}}}, ArgumentError, "no such stamp among stamps"),
        ({"headers": {"stamps": {"k": 1}}}, ArgumentError, "header 'stamps' belongs to the message protocol"),
        ({"stamped_headers": ["k"], "k": object()}, EncodeError, ""),
    ],
)
def test_calls_that_are_refused(app: Celeriac, options: dict[str, Any], kind: type[Exception], text: str) -> None:
    with pytest.raises(kind) as caught:
        message(app, **options)
    assert text in str(caught.value)


def test_a_worker_sends_on_whatever_another_program_has_stamped(app: Celeriac) -> None:
    options = {"stamped_headers": ["id", "k", "lost"], "id": 7, "k": "v", "headers": {"x": 1}, "unheard": 3}
    sent = message_from_invoke(app, Invoke({"task": "note", "options": options}, (), "parent", "root"), 0, None)
    assert stamped(sent) == (["id", "k"], {"id": 7, "k": "v"})
    assert sent.headers["x"] == 1


def test_what_takes_a_task_s_place_has_its_stamps_besides_its_own() -> None:
    workflow = chain(a().stamp(k="own"), chord([b().set(link=Signature("link"))], c()), group(Signature("d")))
    assert stamps_of(Signature.from_dict(with_stamps(workflow, {"k": "v", "j": 1, "id": "not ours to write"}))) == {
        "a": {"k": "own", "j": 1},
        "b": {"k": "v", "j": 1},
        "c": {"k": "v", "j": 1},
        "d": {"k": "v", "j": 1},
        "link": {},
    }
