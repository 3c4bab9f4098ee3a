"""Groups as collections, as tuples, as pickles, as saved documents, and made of eager results."""

from __future__ import annotations

import asyncio
import copy
import pickle
from typing import Any

import pytest

from celeriac import Celeriac
from celeriac.exceptions import DecodeError, ImproperlyConfigured, SecurityError
from celeriac.result import (
    AsyncResult,
    EagerResult,
    GroupResult,
    ResultSet,
    result_from_tuple,
)
from celeriac.wire import group_document
from tests.client.groups import group_of, nested
from tests.client.recording import RecordingBackend
from tests.client.test_results import eventually

# -- a collection --------------------------------------------------------------------------------------------------------


def test_a_set_of_results_changes(app: Celeriac) -> None:
    a, b, c = (app.AsyncResult(one) for one in "abc")
    results = app.ResultSet([a])
    assert bool(results)
    results.add(b)
    results.add(app.AsyncResult("a"))
    results.update([b, c, c])
    assert list(results) == [a, b, c] == results[:]
    assert (len(results), results[1], results.index("c"), "b" in results, app.AsyncResult("x") in results) == (
        3, b, 2, True, False,
    )  # fmt: skip
    assert repr(results) == str(results) == "<ResultSet: [a, b, c]>"
    results.remove(a)
    results.remove("b")
    results.discard("nobody")
    with pytest.raises(KeyError):
        results.remove("nobody")
    assert results == app.ResultSet([c]) != app.ResultSet([])
    with pytest.raises(TypeError):
        hash(results)
    results.clear()
    assert not results
    assert results.get(timeout=0) == []
    assert results.supports_native_join
    with pytest.raises(AttributeError, match="has no attribute 'id'"):
        _ = results.id
    with pytest.raises(AttributeError, match=r"see app\.backend"):
        _ = results.backend  # type: ignore[attr-defined]


def test_a_group_is_known_by_its_id(app: Celeriac) -> None:
    group = group_of(app, "a", "c")
    assert group == group_of(app, "a", "c") == "g"
    assert group != group_of(app, "a")
    assert group != group_of(app, "a", "c", parent=app.AsyncResult("p"))
    assert group != group_of(app, "a", "c", group_id="h")
    assert hash(group) == hash("g")
    assert (str(group), repr(group), bool(app.GroupResult("e", []))) == ("g", "<GroupResult: g [a, c]>", True)
    assert repr(group_of(app, *map(str, range(30)))).endswith("19, and 10 more]>")
    assert len(app.GroupResult().id) == 36
    assert isinstance(group, ResultSet)
    assert group.children == group.results


def test_tuples(app: Celeriac) -> None:
    group = nested(app)
    group.parent = app.AsyncResult("x", parent=app.AsyncResult("p"))
    written = group.as_tuple()
    assert written == (
        ("n", (("x", (("p", None), None)), None)),
        [(("d", None), None), (("g", None), [(("a", None), None), (("b", None), None)])],
    )
    read = result_from_tuple(written, app)
    assert (read, read.parent, read.root, read.as_list()) == (
        group,
        group.parent,
        app.AsyncResult("p"),
        ["n", "x", "p"],
    )
    app.set_current()
    assert result_from_tuple([["id", None], None]) == result_from_tuple(("id", None)) == AsyncResult[Any]("id")
    assert result_from_tuple(group) is group
    for bad in ("id", None, [["id"], None, 3], [[1, None], None], [["g", None], "members"], [["g", None], ["member"]]):
        with pytest.raises(ValueError, match="tuple of a result"):
            result_from_tuple(bad, app)


def test_a_long_chain_can_be_written_and_read(app: Celeriac) -> None:
    result: AsyncResult[Any] = app.AsyncResult("0")
    for n in range(1, 5000):
        result = app.AsyncResult(str(n), parent=result)
    assert result_from_tuple(result.as_tuple(), app).as_list() == result.as_list()
    app.set_current()
    assert pickle.loads(pickle.dumps(result)).as_list() == result.as_list()
    assert result.root.id == "0"


def test_results_can_be_pickled_and_copied(app: Celeriac, backend: RecordingBackend) -> None:
    backend.put("a", "SUCCESS", 1)
    parent: AsyncResult[Any] = AsyncResult("p", app=app, ignored=True)
    group = app.GroupResult("g", [app.AsyncResult("a")], parent=parent)
    assert group.get() == [1]
    app.set_current()
    for read in (pickle.loads(pickle.dumps(group)), copy.copy(group), copy.deepcopy(group)):
        assert (read, read.parent, read.app, type(read)) == (group, parent, app, GroupResult)
        assert isinstance(read.parent, AsyncResult)
        assert read.parent.ignored
        assert read.get() == [1]
    other = Celeriac("other", set_as_current=True)
    result = group[0]
    assert pickle.loads(pickle.dumps(result)).app is other, "it belongs to the current app where it is read"
    for copied in (copy.copy(result), copy.deepcopy(result), copy.deepcopy(group)[0]):
        assert (copied, copied.app) == (result, app)
    assert copy.copy(app.ResultSet([result])) == app.ResultSet([result])
    assert b"RecordingBackend" not in pickle.dumps(group)


# -- being kept ----------------------------------------------------------------------------------------------------------


def test_a_group_can_be_saved_and_found_again(app: Celeriac, backend: RecordingBackend) -> None:
    group = nested(app)
    group.parent = app.AsyncResult("p")
    assert group.save() is group
    document, expires_s = backend.groups["n"]
    assert document == (
        b'{"result": [["n", [["p", null], null]], [[["d", null], null],'
        b' [["g", null], [[["a", null], null], [["b", null], null]]]]]}'
    )
    assert expires_s == app.settings.result_expires
    found = app.GroupResult.restore("n")
    assert found is not None
    assert (found, found.parent, found.app) == (group, group.parent, app)
    app.set_current()
    assert GroupResult.restore("n") == found
    assert GroupResult.restore("nobody") is None
    assert app.GroupResult.restore("n", backend=app.backend) == found.save(backend=app.backend)
    for elsewhere in (found.save, found.delete, lambda there: AsyncResult[Any]("a", there, app=app)):
        with pytest.raises(ImproperlyConfigured, match="give app= instead"):
            elsewhere(RecordingBackend())
    found.delete()
    found.delete()
    assert app.GroupResult.restore("n") is None


def test_a_document_that_is_no_group_s(app: Celeriac, backend: RecordingBackend) -> None:
    for bad in (
        b"{}",
        b"[]",
        b"?",
        b'{"result": 3}',
        b'{"result": [["a", null], null]}',
        b'{"result": [["h", null], []]}',
    ):
        backend.groups["g"] = (bad, None)
        with pytest.raises(DecodeError):
            app.GroupResult.restore("g")


def test_a_saved_group_is_signed_where_results_are() -> None:
    with Celeriac(
        "x", broker="memory://", backend="memory://", result_serializer="hmac", accept_content=["hmac"]
    ) as app:
        app.conf.security_hmac_key = "a key that all of the cluster share"
        group = group_of(app, "a").save()
        assert app.GroupResult.restore("g") == group
        app._reader.save_group("g", group_document.encode(group.as_tuple()), None)
        with pytest.raises((SecurityError, DecodeError)):
            app.GroupResult.restore("g")


# -- on the spot ---------------------------------------------------------------------------------------------------------


def test_a_group_of_eager_results(app: Celeriac, backend: RecordingBackend) -> None:
    @app.task
    def double(x: int) -> int:
        if x < 0:
            raise ValueError(x)
        return 2 * x

    group: GroupResult[Any] = app.GroupResult("g", [double.apply((n,)) for n in (1, 2)])
    seen: list[Any] = []
    assert group.get(timeout=0) == group.join() == list(group.iterate()) == [2, 4]
    assert [record["result"] for _, record in group.iter_native()] == [2, 4]
    assert (group.ready(), group.successful(), group.completed_count(), str(group.progress())) == (True, True, 2, "2/2")
    assert asyncio.run(group.aget()) == [2, 4]
    group.then(seen.append)
    eventually(lambda: seen == [group])
    bad = app.GroupResult("b", [*group.results, double.apply((-1,))])
    assert (bad.failed(), bad.progress().failed) == (True, 1)
    for _ in range(2):
        with pytest.raises(ValueError, match="-1") as caught:
            bad.get()
        assert len(caught.value.__notes__) == 1
        assert "member 3 of 3 of group b" in caught.value.__notes__[0]
    group.revoke()
    assert [member.state for member in group] == ["REVOKED", "REVOKED"]
    group.forget()
    assert backend.fetches == 0
    assert not backend.listeners


def test_an_eager_result_of_a_program_s_own() -> None:
    result: EagerResult[int] = EagerResult("id", 3, "SUCCESS", name="add")
    assert (result.get(), result.name, result.state, result.children) == (3, "add", "SUCCESS", [])
    failed: EagerResult[int] = EagerResult("id", ValueError("no"), "FAILURE", "Traceback")
    assert (failed.traceback, failed.failed()) == ("Traceback", True)
    seen: list[Any] = []
    result.then(lambda _: 1 / 0, on_error=seen.append)
    assert isinstance(seen[0], ZeroDivisionError)
    with pytest.raises(ZeroDivisionError):
        result.then(lambda _: 1 / 0)
